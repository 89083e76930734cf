"""Score-CAM against a naive loop over channels, and its forward passes."""

import pytest
import torch
from torch import nn

from tests.helpers.cam_models import Counting, bilinear, close, images, small
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.backbones.batch_mixing import mixes_batch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_score_cam_is_a_loop_over_channels() -> None:
    model, x = small().eval(), images()
    model[8].get_parameter("weight").data *= 30
    model[4].get_parameter("weight").data[3], model[4].get_parameter("bias").data[3] = (
        0,
        0.5,
    )  # a constant channel masks all
    activations = model[:6](x)
    expected = torch.zeros(2, 5, 12, 9, dtype=torch.float64)
    for b in range(2):
        baseline = model(torch.zeros_like(x[:1]))[0]
        increases = []
        for k in range(8):
            mask = bilinear(activations[b, k][None, None], x)
            mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else mask * 0
            increases.append(model(x[b : b + 1] * mask)[0] - baseline)
        alpha = torch.stack(increases).softmax(dim=0)
        for k in range(5):
            coarse = sum(a * activation for a, activation in zip(alpha[:, k], activations[b], strict=True)).relu()
            expected[b, k] = bilinear(coarse[None, None], x)[0, 0]
    actual = ScoreCAM(model, internal_batch_size=5, alignment="image").attribute(x, torch.arange(5).expand(2, 5))
    close(actual, expected[:, :, None])


def test_score_cam_keeps_to_its_bound_and_shares_its_passes() -> None:
    model, x = Counting(), images(3)
    mixes_batch(model, x)  # found once for each model, by passes of its own
    model.seen.clear()
    whole = ScoreCAM(model, "network.5", internal_batch_size=None).attribute(x, torch.tensor([[0, 1]] * 3))
    assert model.seen == [3, 1, 8, 8, 8]  # the one to find where cells look
    model.seen.clear()
    bounded = ScoreCAM(model, "network.5", internal_batch_size=2).attribute(x, torch.tensor([[0, 1]] * 3))
    assert max(model.seen) == 2
    assert sum(model.seen) == 27
    close(bounded, whole)


@pytest.mark.parametrize("bias", [0.1, 0.3, 2.7])
def test_a_constant_channel_masks_all_in_float32_too(bias: float) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(6 * 7 * 11, 4)
    ).eval()
    model[0].get_parameter("weight").data[0], model[0].get_parameter("bias").data[0] = 0, bias
    x = torch.randn(2, 3, 30, 44)
    with torch.no_grad():
        model[4].get_parameter("weight").mul_(20)  # so that the softmax tells the channels apart
        activations = model[:3](x)
        expected = torch.zeros(2, 1, 30, 44)
        for image, maps in enumerate(activations):
            masks = bilinear(maps[:, None], x)
            low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
            masks = (masks - low) / (high - low)
            masks[0] = 0
            alpha = model(x[image] * masks)[:, 1].softmax(dim=0)
            expected[image] = bilinear((alpha[:, None, None] * maps).sum(dim=0).relu()[None, None], x)[0]
    torch.testing.assert_close(ScoreCAM(model, "2", alignment="image").attribute(x, 1), expected)
