"""Winning probabilities of a linear operator against equation 1, written as a matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrine.attribution.excitation.winning_probability import (
    LinearBackward,
    ScaledBackward,
    WinningProbability,
    reciprocals,
)

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(2, 4, generator=GENERATOR)
WEIGHT = torch.randn(3, 4, generator=GENERATOR)
MASS = torch.rand(2, 3, generator=GENERATOR)


def linear(x: Tensor, weight: Tensor | None) -> Tensor:
    return F.linear(x, weight if weight is not None else torch.ones(3, x.shape[1]))


def by_equation_1(x: Tensor, weight: Tensor, mass: Tensor) -> Tensor:
    """P(x_j) = Σ_i x_j w_ij⁺ / Σ_k x_k w_ik⁺ · P(z_i)."""
    products = x[:, None] * weight.clamp(min=0)
    return (products / products.sum(dim=2, keepdim=True) * mass[:, :, None]).nan_to_num(0).sum(dim=1)


def test_it_is_equation_1() -> None:
    share = WinningProbability(linear, [(X, WEIGHT.clamp(min=0))])
    for mass in (MASS, 2 * MASS):  # the sums are made once
        torch.testing.assert_close(share(mass), by_equation_1(X, WEIGHT, mass))


def test_mass_is_kept_where_a_sum_is_positive() -> None:
    share = WinningProbability(linear, [(X, WEIGHT.abs())])
    torch.testing.assert_close(share(MASS).sum(dim=1), MASS.sum(dim=1))


def test_of_two_parts_the_sum_counts() -> None:
    one, two = WEIGHT.clamp(min=0), WEIGHT.abs()
    together = WinningProbability(linear, [(X, one), (X, two)])(MASS)
    torch.testing.assert_close(together, by_equation_1(X, one + two, MASS))


def test_nothing_positive_gets_nothing() -> None:
    weight = WEIGHT.clone()
    weight[1] = -1
    share = WinningProbability(linear, [(X, weight.clamp(min=0))])(MASS)
    torch.testing.assert_close(share, by_equation_1(X, weight, MASS))
    assert share.isfinite().all()


@pytest.mark.parametrize("contrastive", [False, True])
def test_the_backward_pass_of_an_operator(contrastive: bool) -> None:
    backward = LinearBackward(linear, [X], WEIGHT)
    backward.contrastive = contrastive
    expected = by_equation_1(X, WEIGHT, MASS)
    if contrastive:
        expected = expected - by_equation_1(X, -WEIGHT, MASS)
    torch.testing.assert_close(backward(MASS)[0], expected)


def test_a_scale_goes_with_the_weight() -> None:
    scale = torch.tensor([2.0, -1.0, 0.5])[:, None]
    torch.testing.assert_close(
        LinearBackward(linear, [X], WEIGHT, scale)(MASS)[0], by_equation_1(X, scale * WEIGHT, MASS)
    )


@pytest.mark.parametrize("contrastive", [False, True])
def test_any_factor_of_the_output_goes_with_the_weight(contrastive: bool) -> None:
    factors = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 1.0]])  # another one for each sample
    scaled = ScaledBackward(LinearBackward(linear, [X], WEIGHT), factors, lambda mass: mass)
    scaled.contrastive = contrastive
    for row, factor in enumerate(factors):
        weight = factor[:, None] * WEIGHT
        expected = by_equation_1(X, weight, MASS)[row]
        if contrastive:
            expected = expected - by_equation_1(X, -weight, MASS)[row]
        torch.testing.assert_close(scaled(MASS)[0][row], expected)


def test_factors_of_factors_multiply() -> None:
    one, two = torch.tensor([2.0, -1.0, -0.5]), torch.tensor([-1.0, -1.0, 3.0])
    nested = ScaledBackward(LinearBackward(linear, [X], WEIGHT), one, lambda mass: mass)
    nested = ScaledBackward(nested, two, lambda mass: mass)
    torch.testing.assert_close(nested(MASS)[0], by_equation_1(X, (one * two)[:, None] * WEIGHT, MASS))


def test_a_mean_has_no_weight() -> None:
    torch.testing.assert_close(LinearBackward(linear, [X], None)(MASS)[0], by_equation_1(X, torch.ones(3, 4), MASS))


def test_negative_activations_enter_with_negative_weights() -> None:
    x = X - 0.5
    products = x[:, None] * WEIGHT
    positive = products.clamp(min=0)
    expected = (positive / positive.sum(dim=2, keepdim=True) * MASS[:, :, None]).nan_to_num(0).sum(dim=1)
    found = LinearBackward(linear, [x.clamp(min=0), x.clamp(max=0)], WEIGHT)(MASS)[0]
    torch.testing.assert_close(found, expected)


def test_reciprocals_of_what_has_none_are_zero() -> None:
    found = reciprocals(torch.tensor([2.0, 0.0, -0.0, 1e-45, torch.nan]))
    assert found[:4].tolist() == [0.5, 0, 0, 0]
    assert found[4].isnan()
