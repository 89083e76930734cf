"""A small network of one's own, and its weights."""

from torch import Tensor, nn
from torch.nn import functional as F


class OwnNetwork(nn.Module):
    """A network with everything that could change: batch norm, dropout, in-place and functional ReLU."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        hidden = self.relu(self.norm(self.conv(images)))
        return self.classifier(self.dropout(F.relu(hidden.mean(dim=(2, 3)))))
