"""Heatmaps that start above what is usual."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import MuLassoExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions
from vitrine.explainers.mu_lasso.thresholds import learn_activation_thresholds


def explainer_of(threshold: float) -> MuLassoExplainer:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    explainer = MuLassoExplainer(
        FrozenBackbone(network),
        MuLassoOptions(layers=["1"], num_heatmaps=2, activation_threshold=threshold, image_size=8),
    )
    explainer.weights.data[1] = torch.tensor([2.0, 0.0])
    explainer.weights.data[2] = torch.tensor([1.0, -1.0])
    return explainer


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_median_maxima_are_medians_of_the_selected_filters() -> None:
    explainer, given = explainer_of(1.0), images(7)
    learn_activation_thresholds(explainer, iter(given.split(3)))
    with torch.no_grad():
        largest = explainer.backbone(given, taps=["1"]).taps["1"].amax(dim=(2, 3))
    expected = torch.zeros(4)
    expected[1:3] = largest.median(dim=0).values[1:3]
    assert torch.equal(explainer.median_maxima, expected)


def test_no_more_images_are_read_than_asked_for() -> None:
    explainer, read = explainer_of(1.0), []

    def batches() -> Iterator[Tensor]:
        for batch in images(9).split(2):
            read.append(len(batch))
            yield batch

    learn_activation_thresholds(explainer, batches(), num_images=3)
    assert sum(read) <= 6
    other = explainer_of(1.0)
    learn_activation_thresholds(other, [images(9)[:3]])
    assert torch.equal(explainer.median_maxima, other.median_maxima)


def test_a_heatmap_shows_what_stands_out_above_the_threshold() -> None:
    """At a threshold of the largest activation there is nothing left; below it, the signal starts from the difference."""
    image, plain, high = images(1), explainer_of(0.0), explainer_of(1.0)
    with torch.no_grad():
        maps = plain.backbone(image, taps=["1"]).taps["1"]
    high.median_maxima[1:3] = maps.amax(dim=(0, 2, 3))[1:3]
    whole, nothing = plain.explain(image, target=0), high.explain(image, target=0)
    assert bool((whole.heatmaps.flatten(2).amax(dim=2) > 0).all())
    assert not bool(nothing.heatmaps.any())
    assert torch.equal(whole.scores, nothing.scores)
    half = explainer_of(0.5)
    half.median_maxima.copy_(high.median_maxima)
    pixels = image.clone().requires_grad_()
    start = (plain.backbone(pixels, taps=["0"]).taps["0"][:, 1], (maps[:, 1] - half.median_maxima[1] / 2).clamp(min=0))
    (expected,) = torch.autograd.grad(start[0], pixels, start[1])
    assert torch.allclose(half.explain(image, target=0).heatmaps[:, 0], expected.abs().amax(dim=1), atol=1e-6)


def test_the_threshold_is_saved() -> None:
    explainer = explainer_of(0.5)
    learn_activation_thresholds(explainer, [images(5)])
    assert explainer.options.to_dict()["activation_threshold"] == 0.5
    assert torch.equal(explainer.head_state()["median_maxima"], explainer.median_maxima)


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="activation_threshold is -1"):
        explainer_of(-1.0)
