"""The kind of network that the paper explains: five convolutional and two fully-connected layers."""

import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn


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


def train(
    network: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, seed: int, lr: float = 2e-3, title: str = ""
) -> nn.Module:
    """Adam with a rate that falls to 0 over the epochs (cosine), batches of 64.

    Args:
        network: to be trained, on the device of choice.
        images: (N, 3, H, W) normalised.
        labels: (N,) class indices.
        epochs: passes over the images.
        seed: of their order.
        lr: highest learning rate.
        title: of the progress bar.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, fused=True)
    steps = epochs * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    network.train()
    for _ in track(range(epochs), title, transient=True):
        for rows in torch.split(torch.randperm(len(images), generator=generator), 64):
            loss = F.cross_entropy(network(images[rows].to(device)), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """(N, C) on the CPU, 256 images at a time."""
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).cpu() for part in torch.split(images, 256)])
