"""A small network that learns an8Flower in a minute or two on a CPU."""

from torch import Tensor, nn


class FlowerNet(nn.Module):
    """All-ReLU convolutions with max pooling, global average pooling and two linear layers; no batch norm.

    ``features`` gives (B, 4·width, H/4, W/4) non-negative maps; with the default width 64 of them.

    Args:
        num_classes: Number of logits.
        width: Channels of the first convolution.
    """

    def __init__(self, num_classes: int = 6, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            *_convolution(4 * width, 4 * width),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(4 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, num_classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images, H and W from 64, to (B, num_classes) logits."""
        logits: Tensor = self.classifier(self.pool(self.features(image)))
        return logits


def _convolution(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.ReLU]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution, nn.ReLU()
