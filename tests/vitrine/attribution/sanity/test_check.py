"""The sanity check: rank correlation against SciPy, the cascade against what it says of itself, verdicts on known methods."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from torch import Tensor, nn

from tests.helpers.sanity_networks import EdgeDetector, Gradient
from vitrine.attribution.sanity import SanityReport, randomized, rank_correlation, sanity_check
from vitrine.attribution.sanity.__main__ import find_images

PAIRS = st.tuples(st.integers(1, 4), st.integers(2, 40)).flatmap(
    lambda shape: arrays.arrays(
        np.float64, (2, *shape), elements=st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6, allow_subnormal=False)
    )
)


@settings(max_examples=150)
@given(PAIRS)
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_rank_correlation_is_scipys(pair: np.ndarray[Any, Any]) -> None:
    actual = rank_correlation(*torch.from_numpy(pair))
    expected = [spearmanr(first, second).statistic for first, second in zip(*pair, strict=True)]
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)


def test_rank_correlation_of_large_maps_of_mostly_zeros() -> None:
    """As ReLU leaves them: sums of tied ranks exceed 32 bits."""
    first, second = torch.randn(2, 3, 300 * 300, generator=torch.Generator().manual_seed(0)).sub(1).relu().unbind()
    second[1] += first[1]
    expected = [spearmanr(a, b).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    np.testing.assert_allclose(rank_correlation(first, second).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("bad", [[2.0, 2.0, 2.0], [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])
def test_rank_correlation_of_degenerate_rows_is_nan(bad: list[float]) -> None:
    rows = torch.tensor([bad, [0.0, 1.0, 2.0]])
    good = torch.tensor([[0.0, 1.0, 2.0], [0.0, 10.0, 11.0]])
    for actual in (rank_correlation(rows, good), rank_correlation(good, rows)):
        assert actual.isnan().tolist() == [True, False]
        assert actual[1] == pytest.approx(1)


def test_a_method_that_ignores_the_model_fails(network: nn.Module, images: Tensor) -> None:
    report = sanity_check(EdgeDetector, network, images)
    for figures in (report.image_correlation, report.image_absolute_correlation):
        torch.testing.assert_close(figures, torch.ones(7, 5, dtype=torch.float64))
    assert not report.passes()
    assert report.passes(threshold=1.01)
    assert report.verdict("EdgeDetector").startswith("EdgeDetector fails the sanity check")


def test_the_gradient_of_a_trained_network_falls(images: Tensor) -> None:
    """Trained to tell the side on which a bright square lies."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        label = torch.randint(2, (16,))
        scene = torch.randn(16, 3, 9, 9) / 4
        for row, side in enumerate(label.tolist()):
            scene[row, :, 3:6, 6 * side : 6 * side + 3] += 1
        optimizer.zero_grad()
        loss = F.cross_entropy(model(scene), label)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    report = sanity_check(Gradient, model, scene)
    assert report.layers == ("6", "3", "0")
    assert report.passes()
    assert abs(float(report.correlation[-1])) < 0.3
    assert "passes the sanity check" in report.verdict("Gradient")


def test_the_report_is_that_of_a_plain_loop(network: nn.Module, images: Tensor) -> None:
    network.eval()
    target = network(images).argmax(dim=1)
    report = sanity_check(Gradient, network, images, seed=5)
    before = Gradient(network).attribute(images, target).sum(1).flatten(1).numpy()
    for stage, (name, model) in enumerate(randomized(network, images, seed=5)):
        assert report.layers[stage] == name
        after = Gradient(model).attribute(images, target).sum(1).flatten(1).numpy()
        for image in range(5):
            signed = spearmanr(before[image], after[image]).statistic
            absolute = spearmanr(abs(before[image]), abs(after[image])).statistic
            assert float(report.image_correlation[stage, image]) == pytest.approx(signed, abs=1e-9)
            assert float(report.image_absolute_correlation[stage, image]) == pytest.approx(absolute, abs=1e-9)


def test_a_given_target_is_explained(network: nn.Module, images: Tensor) -> None:
    asked: list[Any] = []

    class Asked(Gradient):
        def attribute(self, inputs: Tensor, target: Any = None, channel: Any = None) -> Tensor:
            asked.append(target)
            return super().attribute(inputs, target, channel)

    sanity_check(Asked, network, images, 2, stages=2)
    assert asked == [2, 2, 2]


def test_one_image_does_not_depend_on_the_others(network: nn.Module, images: Tensor) -> None:
    whole = sanity_check(Gradient, network, images, seed=2)
    parts = SanityReport.cat([sanity_check(Gradient, network, images[row : row + 1], seed=2) for row in range(5)])
    assert parts.layers == whole.layers
    torch.testing.assert_close(parts.image_correlation, whole.image_correlation, rtol=0, atol=1e-3)
    torch.testing.assert_close(parts.image_absolute_correlation, whole.image_absolute_correlation, rtol=0, atol=1e-3)


def test_under_inference_mode(network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        within = sanity_check(Gradient, network, images, stages=3)
    torch.testing.assert_close(
        within.image_correlation, sanity_check(Gradient, network, images, stages=3).image_correlation
    )


def test_images_are_spread_over_the_folder(class_folder: Path) -> None:
    names = partial(lambda count: [path.name for path in find_images(class_folder / "train", count)])
    assert names(4) == ["ant_train_0.png", "ant_train_3.png", "bee_train_0.png", "bee_train_3.png"]
    assert len(set(names(7))) == 7
    assert len(names(99)) == 12
