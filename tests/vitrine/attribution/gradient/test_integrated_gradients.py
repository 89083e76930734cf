"""Integrated gradients against its integral and its axioms."""

from typing import get_args

import pytest
import torch
from captum import attr
from torch import Tensor, nn

from vitrine.attribution.gradient.integrated_gradients import IntegratedGradients, IntegrationRule


def smooth_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(27, 4)]
    return nn.Sequential(*layers).double()


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rule", get_args(IntegrationRule))
@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_a_map_sums_to_the_difference_as_steps_grow(rule: IntegrationRule, baseline: float) -> None:
    model, x = smooth_net(), images()
    with torch.no_grad():
        expected = (model(x) - model(torch.full_like(x, baseline)))[:, 1]
    errors = []
    for steps in (4, 16, 64):
        actual = IntegratedGradients(model, baseline=baseline, steps=steps, method=rule).attribute(x, 1)
        errors.append(float((actual.sum((1, 2, 3)) - expected).abs().max() / expected.abs().max()))
    if rule == "gausslegendre":
        assert max(errors[1:]) < 1e-9
    else:
        assert errors[2] < errors[1] / 3 < errors[0] / 9


@pytest.mark.parametrize("rule", get_args(IntegrationRule))
def test_equals_captum(rule: IntegrationRule) -> None:
    model, x, baseline = smooth_net(), images(), images(4)[2:]
    actual = IntegratedGradients(model, baseline=baseline, steps=6, method=rule).attribute(x, [1, 3])
    captums = attr.IntegratedGradients(model)
    expected = captums.attribute(x, baseline, torch.tensor([1, 3]), n_steps=6, method=rule)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)  # Captum keeps the weights in float32


@pytest.mark.parametrize("steps", [1, 7])
def test_a_linear_model_gives_weight_times_difference(steps: int) -> None:
    linear = nn.Linear(3 * 6 * 6, 5, dtype=torch.float64)
    model, x, baseline = nn.Sequential(nn.Flatten(), linear), images(), images(5)[3:]
    actual = IntegratedGradients(model, baseline=baseline, steps=steps).attribute(x, torch.tensor([[4, 0], [2, 2]]))
    weight = linear.weight.detach().view(5, 3, 6, 6)[torch.tensor([[4, 0], [2, 2]])]
    torch.testing.assert_close(actual, weight * (x - baseline)[:, None], rtol=1e-6, atol=1e-9)


def test_a_quadratic_model_in_closed_form() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.square().sum((2, 3))

    x, baseline = images(), torch.full((1, 3, 1, 1), 0.4, dtype=torch.float64)
    actual = IntegratedGradients(Squares(), baseline=baseline, steps=3).attribute(x, 2)
    expected = torch.zeros_like(x)
    expected[:, 2] = x[:, 2].square() - 0.4**2  # (x − b)(x + b), at each of the pixels
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)


def test_nothing_is_attributed_to_the_baseline_itself() -> None:
    actual = IntegratedGradients(smooth_net(), baseline=images(), steps=5).attribute(images(), 0)
    assert torch.equal(actual, torch.zeros_like(actual))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "simpson"}, "method is 'simpson'; give 'gausslegendre', 'riemann_left'"),
        ({"steps": 0}, "steps is 0; give 1 or more"),
        ({"steps": 1, "method": "riemann_left"}, "steps is 1; give 2 or more for riemann_left"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(smooth_net(), **options)  # type: ignore[arg-type]
