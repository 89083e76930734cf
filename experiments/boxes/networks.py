"""SqueezeNet without its last ReLU, for binary cross entropy: with it, no logit falls below 0 and no label below 50 %."""

from torch import nn
from torchvision.models import SqueezeNet


class SignedSqueezeNet(SqueezeNet):  # type: ignore[misc]  # torchvision has no types
    """SqueezeNet 1.0 whose logits can be negative; its state dict is torchvision's of ``squeezenet1_0``.

    Args:
        num_classes: number of logits.

    Example:
        >>> import torch
        >>> SignedSqueezeNet(5)(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 5])
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__("1_0", num_classes=num_classes)
        self.classifier[2] = nn.Identity()
