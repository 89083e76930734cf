"""The networks of Oramas, Wang and Tuytelaars (ICLR 2019): MatConvNet's for MNIST, and one of its kind for an8Flower."""

from torch import Tensor, nn
from typing_extensions import override


class DigitCNN(nn.Module):
    """conv 5×5×20, max pool 2, conv 5×5×50, max pool 2, conv 4×4×500, ReLU, fully connected 10.

    With the softmax these are the paper's 8 layers. It counts as MatConvNet does, activations and poolings too: the 21
    layers of VGG-F are 15 up to pool5, "convolutional", then fc6, relu6, fc7, relu7 and fc8, "fully connected", and the
    softmax. So here the first five are the convolutional ones, and the ReLU and the last layer the two that are fully
    connected.

    Args:
        num_classes: number of logits.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, kernel_size=5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(50, 500, kernel_size=4)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(500, num_classes)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 28, 28) normalised images to (B, num_classes) logits."""
        maps = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        logits: Tensor = self.fc(self.relu3(self.conv3(maps)).flatten(1))
        return logits


class FlowerCNN(nn.Module):
    """Five convolutions, the first with stride 2, three max poolings and two linear layers; ReLU throughout.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, a multiple of 16.
    """

    def __init__(self, num_classes: int = 6, size: int = 80) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, 16, kernel=5, stride=2),
            *_convolution(16, 16),
            nn.MaxPool2d(2),
            *_convolution(16, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
        )
        hidden = nn.Linear(32 * (size // 16) ** 2, 64)
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
        self.classifier = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(64, num_classes))

    @override
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) normalised images to (B, num_classes) logits."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Conv2d, nn.ReLU]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution, nn.ReLU()
