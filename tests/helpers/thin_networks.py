"""VGG networks with few channels, whose layers have torchvision's names: whole ones take 540 MB each."""

from torch import nn
from torchvision.models.vgg import VGG, cfgs, make_layers


class ThinVGG(VGG):  # type: ignore[misc]  # torchvision has no types
    """A VGG with a thirty-second of the channels, and hidden layers of 32."""

    def __init__(self, configuration: str, num_classes: int) -> None:
        nn.Module.__init__(self)
        widths = [width if width == "M" else int(width) // 32 for width in cfgs[configuration]]
        hidden = [nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Dropout()]
        self.features = make_layers(widths)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(*hidden, nn.Linear(32, num_classes))
        for module in self.modules():
            if isinstance(
                module, nn.Conv2d | nn.Linear
            ):  # as torchvision's: by default, signals die out over the layers
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


class ThinVGG16(ThinVGG):
    """In place of ``vgg16``."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__("D", num_classes)


class ThinVGG19(ThinVGG):
    """In place of ``vgg19``."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__("E", num_classes)
