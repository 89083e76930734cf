"""The network that is explained: the one for MNIST of MatConvNet, which the paper takes."""

from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import override

from benchmarks.mnist.data import Digits
from vitrine.backbones.weight_files import load_weights

BATCH = 100


class DigitCNN(nn.Module):
    """conv 5×5×20, max pool 2, conv 5×5×50, max pool 2, conv 4×4×500, ReLU, fully connected 10.

    With the softmax these are the paper's 8 layers. It counts as MatConvNet does, activations and poolings too: the 21
    layers of VGG-F are 15 up to pool5, "convolutional", then fc6, relu6, fc7, relu7 and fc8, "fully connected", and the
    softmax. So here the first five are the convolutional ones, and the ReLU and the last layer the two that are fully
    connected.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, kernel_size=5)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(20, 50, kernel_size=5)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(50, 500, kernel_size=4)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(500, 10)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 28, 28) normalised images, whose channels are averaged, to (B, 10) logits."""
        grey = images.mean(dim=1, keepdim=True)
        maps = self.pool2(self.conv2(self.pool1(self.conv1(grey))))
        logits: Tensor = self.fc(self.relu3(self.conv3(maps)).flatten(1))
        return logits


def trained_network(digits: Digits, epochs: int, seed: int, device: str, weights: Path | None) -> DigitCNN:
    """A network in eval mode: read from the file of weights where that exists, else trained, and kept there."""
    torch.manual_seed(seed)
    network = DigitCNN().to(device)
    network.to(memory_format=torch.channels_last)  # twice as fast on processors
    if weights is not None and weights.exists():
        load_weights(network, weights)
        return network.eval()
    train(network, digits, epochs, seed)
    if weights is not None:
        _save(network, weights)
    return network.eval()


def train(network: nn.Module, digits: Digits, epochs: int, seed: int, lr: float = 0.02) -> None:
    """Momentum 0.9, weight decay 0.0005 and batches of 100, as in MatConvNet; the rate falls to 0 (cosine)."""
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    orders = [torch.randperm(len(digits.labels), generator=generator) for _ in range(epochs)]
    batches = [rows for order in orders for rows in torch.split(order, BATCH)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(batches))
    network.train()
    for rows in track(batches, "training", console=Console(stderr=True)):
        loss = F.cross_entropy(network(digits.inputs(rows).to(device)), digits.labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _save(network: nn.Module, path: Path) -> None:
    """Writes a state dict, of which no part is ever left under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(path)
