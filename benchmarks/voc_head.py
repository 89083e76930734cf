"""A multi-label head on a frozen network, fitted by halves: each image is tested by a head that has not seen it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_average_precision
from typing_extensions import override

from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample


class PooledClassifier(nn.Module):
    """features → 1×1 convolution → mean over space: (B, 3, H, W) to (B, n) logits.

    Args:
        features: gives (B, d, h, w).
        weights: (n, d).
        bias: (n,).
    """

    def __init__(self, features: nn.Module, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Conv2d(weights.shape[1], len(weights), kernel_size=1)
        self.classifier.load_state_dict({"weight": weights[..., None, None], "bias": bias})
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.requires_grad_(requires_grad=False).eval()

    @override
    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.flatten(self.pool(self.classifier(self.features(images))))
        return logits


class Half(NamedTuple):
    """A network whose head was fitted on the other half of the images."""

    network: PooledClassifier
    tested: list[int]
    """Numbers of the images that it is tested on."""
    precision: float
    """Mean average precision there."""


def features_of(model: nn.Module) -> nn.Module:
    """The part of a network that gives the maps which it pools.

    Raises:
        ValueError: where it is not named so.
    """
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Module):
        raise ValueError(
            f"{type(model).__name__} has no part named 'features' to put a head on; give a network that has, such as"
            " squeezenet1_0, mobilenet_v2, vgg16 or densenet121."
        )
    return features


def read_image(sample: Sample, preprocessing: Preprocessing) -> tuple[Tensor, tuple[int, int]]:
    """(1, 3, S, S) for the network, and height and width of the file."""
    with Image.open(cast(Path, sample.image)) as picture:
        return preprocessing(picture)[None], (picture.height, picture.width)


def multi_hot(samples: Sequence[Sample], classes: int) -> Tensor:
    """(N, classes) float: 1 where a class has an object in an image."""
    hot = torch.zeros(len(samples), classes)
    for row, sample in enumerate(samples):
        hot[row, sample.labels] = 1
    return hot


def pooled_features(
    features: nn.Module, samples: Sequence[Sample], preprocessing: Preprocessing, device: str, title: str
) -> Tensor:
    """(N, 2, d): means over space of an image's features, and of its mirror image's."""
    pooled = []
    with torch.no_grad():
        for sample in track(samples, title, console=Console(stderr=True)):
            image = read_image(sample, preprocessing)[0].to(device)
            pooled.append(features(torch.cat([image, image.flip(-1)])).mean(dim=(2, 3)).cpu())
    return torch.stack(pooled)


def halves_of(count: int, seed: int) -> tuple[list[int], list[int]]:
    """The numbers below a count, each in one of two halves by chance, in order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[: count // 2]), sorted(order[count // 2 :])


def fit_logistic_regression(inputs: Tensor, labels: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """One logistic regression a class, on standardised inputs: min mean BCE + l2/2 · ‖w‖², by LBFGS over all samples.

    Args:
        inputs: (N, d).
        labels: (N, n) of 0 and 1.
        l2: weight of the penalty, which leaves the bias out.

    Returns:
        (n, d) weights and (n,) bias for the inputs as they were, before they were standardised.
    """
    centre, spread = inputs.double().mean(dim=0), inputs.double().std(dim=0, correction=0)
    spread = spread.where(spread > 0, 1)
    standard, wanted = (inputs.double() - centre) / spread, labels.double()
    weights = standard.new_zeros(labels.shape[1], inputs.shape[1], requires_grad=True)
    bias = standard.new_zeros(labels.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(standard @ weights.T + bias, wanted) * wanted.shape[1]
        loss = loss + l2 / 2 * weights.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = weights.detach() / spread
    return found.float(), (bias.detach() - found @ centre).float()


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """The mean of average precision over the classes that are in (N, n) labels, from (N, n) scores."""
    chances = scores.double().sigmoid()  # in float32 many would be 1, and tie
    precisions = [
        binary_average_precision(chances[:, k], labels[:, k].int()) for k in labels.any(dim=0).nonzero()[:, 0]
    ]
    return float(torch.stack(precisions).mean())


def fit_halves(features: nn.Module, pooled: Tensor, labels: Tensor, l2: float, seed: int) -> list[Half]:
    """Fits a head on each half of the images, on mirror images too, for testing on the other."""
    fitted = []
    first, second = halves_of(len(pooled), seed)
    for seen, tested in ((second, first), (first, second)):
        weights, bias = fit_logistic_regression(
            pooled[seen].flatten(0, 1), labels[seen].repeat_interleave(2, dim=0), l2
        )
        scores = pooled[tested, 0] @ weights.T + bias
        network = PooledClassifier(features, weights, bias)
        fitted.append(Half(network, tested, mean_average_precision(scores, labels[tested])))
    return fitted
