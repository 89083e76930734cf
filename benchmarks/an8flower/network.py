"""The networks that are explained, and their training: the paper's kind of CNN, ViT, Swin and ConvNeXt."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from vitrine.backbones.networks import build_network
from vitrine.backbones.pooling import Pooling


class FlowerCNN(nn.Module):
    """Five convolutions, the first with stride 2, three max poolings and two linear layers; ReLU throughout.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, a multiple of 16.
    """

    def __init__(self, num_classes: int, size: int = 128) -> None:
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

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, size, size) normalised images to (B, num_classes) logits."""
        logits: Tensor = self.classifier(self.features(image))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Conv2d, nn.ReLU]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution, nn.ReLU()


@dataclass(frozen=True)
class Architecture:
    """A network and how it is trained."""

    name: str
    """``module:Class``."""
    lr: float
    """Highest learning rate."""
    epochs: int
    """Passes over the training images."""
    sized: bool = False
    """Whether the constructor takes the side of the input."""
    augmented: bool = True
    """Whether images are shifted and flipped at random."""
    srae_layer: str = ""
    """Whose output the SRAE explains."""
    srae_pooling: Pooling = "average"

    def arguments(self, classes: int, size: int) -> dict[str, int]:
        """Of the constructor."""
        return {"num_classes": classes} | ({"size": size} if self.sized else {})

    def build(self, classes: int, size: int) -> nn.Module:
        """The network with random weights."""
        return build_network(self.name, None, arguments=self.arguments(classes, size))


MODERN = "vitrine.data.an8flower.modern_networks"
ARCHITECTURES = {
    "cnn": Architecture(
        "benchmarks.an8flower.network:FlowerCNN",
        2e-3,
        12,
        sized=True,
        augmented=False,
        srae_layer="classifier.2",
        srae_pooling="none",
    ),
    "vit": Architecture(f"{MODERN}:FlowerViT", 1e-3, 40, sized=True, srae_layer="encoder.ln", srae_pooling="cls"),
    "swin": Architecture(f"{MODERN}:FlowerSwin", 2e-3, 25, srae_layer="norm"),
    "convnext": Architecture(f"{MODERN}:FlowerConvNeXt", 2e-3, 20, srae_layer="features"),
}


def train(
    network: nn.Module, images: Tensor, labels: Tensor, how: Architecture, *, epochs: int, seed: int
) -> nn.Module:
    """AdamW; the rate rises over the first tenth of the steps and falls to 0 as a cosine. Batches of 64.

    Args:
        network: to be trained, on the device of choice.
        images: (N, 3, H, W) normalised.
        labels: (N,) class indices.
        how: its learning rate, and whether images are augmented.
        epochs: passes over the images.
        seed: of their order and of the augmentation.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.lr, weight_decay=0.01, fused=True)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, how.lr, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    network.train()
    for _ in track(range(epochs), f"training {type(network).__name__}", transient=True):
        for rows in torch.split(torch.randperm(len(images), generator=generator), 64):
            batch = images[rows].float()
            shown = augmented(batch, generator) if how.augmented else batch
            loss = F.cross_entropy(network(shown.to(device)), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def augmented(images: Tensor, generator: torch.Generator, reach: int = 6) -> Tensor:
    """Each of (B, 3, H, W) images shifted by up to ``reach`` pixels, its border repeated, and mirrored half of the time."""
    height, width = images.shape[2:]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    shifts = torch.randint(2 * reach + 1, (len(images), 2), generator=generator).tolist()
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).tolist()
    parts = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, shifts, strict=True)]
    return torch.stack([part.flip(2) if flip else part for part, flip in zip(parts, mirrored, strict=True)])


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """(N, C) on the CPU, 256 images at a time."""
    device = next(network.parameters()).device
    return torch.cat([network(part.float().to(device)).cpu() for part in torch.split(images, 256)])
