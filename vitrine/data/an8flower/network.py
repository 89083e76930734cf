"""FlowerNet: a small CNN that learns an8Flower in a minute or two on a CPU."""

from torch import Tensor, nn


class FlowerNet(nn.Module):
    """Convolutions with ReLU and max pooling, global average pooling and two linear layers, without batch norm.

    ``features`` outputs (B, 4·width, H/4, W/4) non-negative maps, 64 with the default width.

    Args:
        num_classes: number of logits.
        width: number of channels of the first convolution.

    Example:
        >>> import torch
        >>> FlowerNet(num_classes=6)(torch.rand(2, 3, 80, 80)).shape
        torch.Size([2, 6])
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
        """(B, num_classes) logits of (B, 3, H, W) normalised images, H and W 64 or more."""
        logits: Tensor = self.classifier(self.pool(self.features(image)))
        return logits


def _convolution(inputs: int, outputs: int) -> tuple[nn.Conv2d, nn.ReLU]:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution, nn.ReLU()
