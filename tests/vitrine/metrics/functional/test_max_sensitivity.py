"""Max-sensitivity: 0 for a constant explainer, Captum's values, and what degenerate maps give."""

import pytest
import torch
from captum.attr import InputXGradient
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from vitrine.metrics.functional.max_sensitivity import max_sensitivity

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 3, 6, 5, dtype=torch.float64, generator=GENERATOR)
NOISE = 0.1 * torch.randn(4, 3, 3, 6, 5, dtype=torch.float64, generator=GENERATOR)
TARGETS = torch.tensor([1, 0, 1])


def test_a_constant_explainer_does_not_change() -> None:
    maps = torch.rand(3, 6, 5, dtype=torch.float64)
    assert max_sensitivity(lambda _: maps, IMAGES, maps, NOISE).tolist() == [0.0, 0.0, 0.0]


def test_equals_captum() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)).double().eval()
    method = InputXGradient(model)
    with torch.enable_grad():
        maps = method.attribute(IMAGES.clone().requires_grad_(), target=TARGETS).detach()

    def explain(images: Tensor, targets: Tensor = TARGETS) -> Tensor:
        with torch.enable_grad():
            return method.attribute(images.detach().requires_grad_(), target=targets).detach().sum(dim=1)

    def explain_repeated(images: tuple[Tensor]) -> tuple[Tensor]:
        return (explain(images[0], TARGETS.repeat_interleave(len(images[0]) // 3)),)

    def perturb(images: Tensor) -> tuple[Tensor]:
        return (images + NOISE.transpose(0, 1).flatten(0, 1),)

    expected = sensitivity_max(explain_repeated, IMAGES, perturb, n_perturb_samples=len(NOISE))
    found = max_sensitivity(explain, IMAGES, maps.sum(dim=1), NOISE)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert (found > 0.01).all()


def test_normalised_maps_have_no_scale() -> None:
    maps = IMAGES[:, 0]

    def explain(images: Tensor) -> Tensor:
        return 7 * maps

    assert max_sensitivity(explain, IMAGES, maps, NOISE).tolist() == [6.0] * 3
    found = max_sensitivity(explain, IMAGES, maps, NOISE, normalize=True)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-12, rtol=0)
    assert max_sensitivity(lambda _: 0 * maps, IMAGES, maps, NOISE, normalize=True).tolist() == pytest.approx([1.0] * 3)
    changed = max_sensitivity(lambda images: images[:, 0], IMAGES, maps, NOISE[:1], normalize=True)
    unit = [one / one.flatten(1).norm(dim=1)[:, None, None] for one in (maps, maps + NOISE[0, :, 0])]
    torch.testing.assert_close(changed, (unit[0] - unit[1]).flatten(1).norm(dim=1))


def test_maps_without_a_norm_or_with_nan_have_no_value() -> None:
    maps = IMAGES[:, 0].clone()
    maps[1] = 0

    def explain(images: Tensor) -> Tensor:
        found = images[:, 0].clone()
        found[2, 0, 0] = torch.nan
        return found

    found = max_sensitivity(explain, IMAGES, maps, [*NOISE[:2], NOISE[2]])
    assert found.isnan().tolist() == [False, True, True]
    norms = NOISE[:3, 0, 0].flatten(1).norm(dim=1)
    torch.testing.assert_close(found[0], norms.max() / maps[0].norm())


def test_half_precision_images_stay_half_and_values_are_wide() -> None:
    images = IMAGES.bfloat16()

    def explain(images: Tensor) -> Tensor:
        assert images.dtype == torch.bfloat16
        return images[:, 0]

    found = max_sensitivity(explain, images, images[:, 0], NOISE)
    exact = max_sensitivity(lambda images: images[:, 0], IMAGES, IMAGES[:, 0], NOISE)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0)


def test_no_noise() -> None:
    with pytest.raises(ValueError, match="noise is empty"):
        max_sensitivity(lambda images: images[:, 0], IMAGES, IMAGES[:, 0], [])
