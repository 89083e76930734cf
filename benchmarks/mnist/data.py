"""MNIST in memory, from the official archives, and the network that is explained, that of MatConvNet."""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import override

from vitrine.backbones.weight_files import load_weights
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing

CLASSES = tuple("0123456789")
PREPROCESSING = Preprocessing(size=28, resize=None, mean=(0.1307,) * 3, std=(0.3081,) * 3)
"""Mean and standard deviation of the training pixels."""


class Digits(NamedTuple):
    """N digits of a split."""

    images: Tensor
    """(N, 28, 28) uint8."""
    labels: Tensor
    """(N,) int64."""

    def inputs(self, rows: slice | Tensor = slice(None)) -> Tensor:
        """(B, 3, 28, 28) normalised: the grey image as three equal channels."""
        grey = (self.images[rows].float() / 255 - PREPROCESSING.mean[0]) / PREPROCESSING.std[0]
        return grey[:, None].expand(-1, 3, -1, -1)

    def batches(self, size: int, device: str, title: str) -> Iterator[Batch]:
        """All digits in turn, with a progress bar."""
        for start in track(range(0, len(self.labels), size), title, console=Console(stderr=True)):
            rows = slice(start, start + size)
            yield {"image": self.inputs(rows).to(device), "label": self.labels[rows].to(device)}


def read_digits(root: Path, split: str) -> Digits:
    """All digits of the split ``train`` or ``t10k``.

    Raises:
        FileNotFoundError: where one of the split's two archives is missing.
        ValueError: where one is damaged, or they do not belong together.
    """
    images = read_idx(root / "MNIST" / "raw" / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(root / "MNIST" / "raw" / f"{split}-labels-idx1-ubyte.gz")
    if images.shape != (len(labels), 28, 28):
        raise ValueError(f"The {split} archives of {root} hold images {tuple(images.shape)} and {len(labels)} labels.")
    return Digits(images, labels.long())


def read_idx(path: Path) -> Tensor:
    """The bytes of a gzipped idx file, in the shape that its head names.

    Raises:
        FileNotFoundError: where it does not exist.
        ValueError: where it is not one, or cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; --root is the folder that holds MNIST/raw with the four archives."
        )
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip archive: {error}.") from error
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} does not begin as an idx file of bytes does.")
    shape = np.frombuffer(content, ">u4", content[3], offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape))
    if len(values) != math.prod(shape):
        raise ValueError(f"{path} has {len(values)} bytes of data, where its head promises {math.prod(shape)}.")
    return torch.from_numpy(values.reshape(shape).copy())


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
    with atomic_file(path) as partial:
        save_file({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, partial)
