"""Equation 5 of Dabkowski and Gal against its transcription."""

import math

import pytest
import torch

from vitrine.explainers.masking.losses import MaskingLosses, masking_terms


def test_the_terms_are_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 1, 4, 3, generator=generator, dtype=torch.float64)
    shown, left = torch.tensor([[0.8, 0.3], [0.1, 0.6]], dtype=torch.float64)
    losses = MaskingLosses(total_variation=2.0, area=3.0, deletion=4.0, deletion_power=0.5)
    terms = masking_terms(masks, shown.log(), left.log(), losses)
    found = terms.weighted(losses, torch.tensor([False, True]))
    for row in range(2):
        m = masks[row, 0].tolist()
        steps = [(m[i][j] - m[i + 1][j]) ** 2 for i in range(3) for j in range(3)]
        steps += [(m[i][j] - m[i][j + 1]) ** 2 for i in range(4) for j in range(2)]
        of_mask = 2 * sum(steps) / 12 + 3 * sum(map(sum, m)) / 12
        of_class = -math.log(float(shown[row])) + 4 * float(left[row]) ** 0.5
        assert float(found[row]) == pytest.approx(of_mask + (of_class if row == 0 else 0))
    assert torch.autograd.gradcheck(
        lambda m, a, b: masking_terms(m, a, b, losses).weighted(losses, torch.tensor([False, True])),
        [one.clone().requires_grad_() for one in (masks, shown.log(), left.log())],
    )


def test_a_probability_of_zero_has_a_finite_gradient() -> None:
    left = torch.tensor([-200.0], requires_grad=True)
    terms = masking_terms(torch.zeros(1, 1, 2, 2), torch.tensor([0.0]), left, MaskingLosses())
    terms.deletion.sum().backward()
    assert left.grad is not None
    assert bool(left.grad.isfinite())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"area": -1.0}, "area is -1.0; give 0 or more"),
        ({"deletion_power": 0.0}, "deletion_power is 0.0"),
        ({"fake_share": 1.5}, "fake_share is 1.5; give a number from 0 to 1"),
        ({"background": "sea"}, "background is 'sea'"),
    ],
)
def test_losses_that_make_no_sense(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MaskingLosses(**options)  # type: ignore[arg-type]
