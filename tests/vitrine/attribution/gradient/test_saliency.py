import pytest
import torch
from captum import attr
from torch import Tensor, nn

from vitrine.attribution.gradient.saliency import Saliency
from vitrine.backbones.batch_mixing import mixes_batch


def smooth_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 2), nn.GELU(), nn.Flatten(), nn.Linear(27, 4)]
    return nn.Sequential(*layers).double()


def central_differences(model: nn.Module, x: Tensor, target: int, step: float = 1e-5) -> Tensor:
    slopes = torch.zeros_like(x)
    with torch.no_grad():
        for place in range(x.numel()):
            moved = torch.zeros(x.numel(), dtype=x.dtype)
            moved[place] = step
            moved = moved.view_as(x)
            slopes.view(-1)[place] = (model(x + moved) - model(x - moved))[0, target] / (2 * step)
    return slopes


@pytest.mark.parametrize("target", [0, 3])
def test_is_the_slope_of_the_logit(target: int) -> None:
    model, x = smooth_net(), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    expected = central_differences(model, x, target)
    torch.testing.assert_close(Saliency(model, absolute=False).attribute(x, target), expected, atol=1e-8, rtol=1e-6)
    torch.testing.assert_close(Saliency(model).attribute(x, target), expected.abs(), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("absolute", [True, False])
def test_equals_captum_bit_by_bit(absolute: bool) -> None:
    model = smooth_net().float()
    x, targets = torch.randn(5, 2, 6, 6), torch.randint(4, (5, 3))
    actual = Saliency(model, absolute=absolute).attribute(x, targets)
    for k, column in enumerate(targets.unbind(dim=1)):
        expected = attr.Saliency(model).attribute(x.requires_grad_(), column, abs=absolute)
        assert torch.equal(actual[:, k], expected)


def test_several_targets_cost_one_forward_pass() -> None:
    model, calls = smooth_net(), []
    mixes_batch(model, torch.rand(2, 2, 6, 6, dtype=torch.float64))  # found once for each model, by passes of its own
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    Saliency(model).attribute(torch.randn(2, 2, 6, 6, dtype=torch.float64), torch.tensor([[0, 1, 2], [3, 2, 1]]))
    assert calls == [2]


def test_a_unit_that_does_not_depend_on_the_pixels_has_no_slope() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images.sum((1, 2, 3)), torch.zeros(len(images))], dim=1)[:, [1, 0]]

    actual = Saliency(Constant()).attribute(torch.rand(2, 3, 4, 4), torch.tensor([[0, 1], [0, 1]]))
    assert torch.equal(actual[:, 0], torch.zeros(2, 3, 4, 4))
    assert torch.equal(actual[:, 1], torch.ones(2, 3, 4, 4))
