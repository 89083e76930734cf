"""A network that is nothing but sizes: batches bring its features and logits along."""

from torch import Tensor, nn


class Net(nn.Module):
    """A layer ``features`` of d ReLUs, and C logits on it.

    Args:
        features: d.
        num_classes: C.
    """

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, features), nn.ReLU())
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C)."""
        logits: Tensor = self.classifier(self.features(image.mean(dim=(2, 3))))
        return logits
