"""The sanity check: its report against a plain loop, and verdicts on known methods."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from tests.helpers.sanity_models import EdgeDetector, Gradient
from vitrine.attribution.sanity import SanityReport, randomized, sanity_check


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
        def attribute(self, inputs: Any, target: Any = None, channel: Any = None, **captum: Any) -> Any:
            asked.append(target)
            return super().attribute(inputs, target, channel, **captum)

    sanity_check(Asked, network, images, 2, stages=2)
    assert asked == [2, 2, 2]


def test_one_image_does_not_depend_on_the_others(network: nn.Module, images: Tensor) -> None:
    whole = sanity_check(Gradient, network, images, seed=2)
    parts = SanityReport.cat([sanity_check(Gradient, network, images[row : row + 1], seed=2) for row in range(5)])
    assert parts.layers == whole.layers
    torch.testing.assert_close(parts.image_correlation, whole.image_correlation, rtol=0, atol=1e-3)
    torch.testing.assert_close(parts.image_absolute_correlation, whole.image_absolute_correlation, rtol=0, atol=1e-3)


NAN = torch.nan


def test_under_inference_mode(network: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        within = sanity_check(Gradient, network, images, stages=3)
    torch.testing.assert_close(
        within.image_correlation, sanity_check(Gradient, network, images, stages=3).image_correlation
    )
