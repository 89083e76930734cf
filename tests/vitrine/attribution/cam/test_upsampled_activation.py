"""A channel's own activation map, upsampled."""

import copy
from typing import Any

import pytest
import torch

from tests.helpers.cam_models import bilinear, images, small, unchanged
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("batch", [1, 3])
def test_upsampled_activation(batch: int) -> None:
    model, x = small(), images(batch)
    with unchanged(model):
        maps = UpsampledActivation(model, "4", alignment="image").attribute(x, channel=torch.tensor([[7, 0]] * batch))
    with torch.no_grad():
        activations = copy.deepcopy(model).eval()[:5](x)
    assert activations.min() < 0
    torch.testing.assert_close(maps, bilinear(activations[:, [7, 0]], x)[:, :, None])
    bounded = UpsampledActivation(model, model[4], internal_batch_size=1, alignment="image").attribute(x, channel=7)
    torch.testing.assert_close(bounded, maps[:, 0])


@pytest.mark.parametrize("arguments", [{}, {"target": 1}, {"target": 1, "channel": 1}])
def test_upsampled_activation_knows_no_classes(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give channel alone"):
        UpsampledActivation(small(), "4").attribute(images(), **arguments)


def test_upsampled_activation_refuses_what_there_is_not() -> None:
    with pytest.raises(ValueError, match="channel 8 is out of range"):
        UpsampledActivation(small(), "4").attribute(images(), channel=8)
    with pytest.raises(ValueError, match="no places in the image"):
        UpsampledActivation(small(), "8").attribute(images(), channel=0)
    with pytest.raises(ValueError, match="name the layer"):
        UpsampledActivation(small()).attribute(images(), channel=0)
