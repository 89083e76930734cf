"""Methods that take images one by one: baselines, targets, and independence of the batch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.per_image import PerImageMethod, expand_baseline
from vitrine.attribution.targets import Target

IMAGES = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))


class Difference(PerImageMethod):
    """Index times the image less its baseline, which tells what each call was given."""

    gradient_like = True

    def __init__(self, model: nn.Module, baseline: Any = 0.0) -> None:
        super().__init__(model)
        self.baseline = baseline

    @override
    def image_maps(self, image: Tensor, baseline: Tensor, target: Target, indices: list[int]) -> Tensor:
        assert image.shape == baseline.shape == (1, 3, 4, 5)
        return torch.cat([index * (image - baseline) for index in indices])


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 4))


def test_each_image_has_its_own_baseline_and_indices() -> None:
    baselines = torch.tensor([0.25, 0.5])[:, None, None, None]
    targets = torch.tensor([[1, 3], [2, 0]])
    maps = Difference(model(), baselines).attribute(IMAGES, targets)
    expected = targets[:, :, None, None, None] * (IMAGES - baselines)[:, None]
    torch.testing.assert_close(maps, expected)


def test_the_predicted_class_of_each_image() -> None:
    network = model()
    maps = Difference(network).attribute(IMAGES)
    torch.testing.assert_close(maps, network(IMAGES).argmax(dim=1)[:, None, None, None] * IMAGES)


def test_no_images_and_no_targets() -> None:
    method = Difference(model())
    assert method.attribute(IMAGES[:0]).shape == (0, 3, 4, 5)
    assert method.attribute(IMAGES, torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 3, 4, 5)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 4, 5), (2, 1, 1, 1)])
def test_baselines_that_broadcast(shape: tuple[int, ...]) -> None:
    expanded = expand_baseline(torch.full(shape, 0.5, dtype=torch.float64), IMAGES)
    assert expanded.shape == IMAGES.shape
    assert expanded.dtype == IMAGES.dtype
    assert (expanded == 0.5).all()
    assert (expand_baseline(0.5, IMAGES) == 0.5).all()


def test_baselines_that_do_not_fit_or_are_no_numbers() -> None:
    with pytest.raises(
        ValueError, match=r"baseline of shape \(3, 3, 1, 1\) does not fit inputs of shape \(2, 3, 4, 5\)"
    ):
        expand_baseline(torch.zeros(3, 3, 1, 1), IMAGES)
    for value, shown in ((float("nan"), "nan"), (torch.tensor([float("inf")]), "a tensor with NaN or infinity")):
        with pytest.raises(ValueError, match=f"baseline is {shown}"):
            expand_baseline(value, IMAGES)
