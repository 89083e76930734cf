"""Infidelity: 0 for what foretells falls, Captum's values, a naive version, and where squares and noise lie."""

from typing import Any

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from torch import Tensor, nn

from vitrine.core.key_noise import KeyNoise
from vitrine.metrics.functional.infidelity import gaussian_perturbations, infidelity, square_perturbations

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 3, 6, 5, dtype=torch.float64, generator=GENERATOR)
MAPS = torch.randn(3, 6, 5, dtype=torch.float64, generator=GENERATOR)
NOISE = 0.3 * torch.randn(7, 3, 3, 6, 5, dtype=torch.float64, generator=GENERATOR)
TARGETS = torch.tensor([1, 0, 1])


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Dropout(), nn.Flatten(), nn.Linear(48, 2))
    return layers.double().eval()


def test_the_gradient_of_a_linear_network_foretells_every_fall() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(90, 2)).double()
    gradients = next(linear.parameters()).view(2, 3, 6, 5)[TARGETS]
    found = infidelity(linear, IMAGES, gradients, TARGETS, NOISE)
    torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-24, rtol=0)
    scaled = infidelity(linear, IMAGES, -7 * gradients, TARGETS, NOISE, normalize=True)
    torch.testing.assert_close(scaled, torch.zeros_like(found), atol=1e-24, rtol=0)
    assert (infidelity(linear, IMAGES, -7 * gradients, TARGETS, NOISE) > 1).all()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_equals_captum(normalize: bool, per_channel: bool) -> None:
    model = network()
    attributions = torch.randn(3, 3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = attributions if per_channel else MAPS
    whole = attributions if per_channel else MAPS[:, None].expand_as(IMAGES)

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        noise = NOISE.transpose(0, 1).flatten(0, 1)
        return noise, images - noise

    options: dict[str, Any] = {"target": TARGETS, "n_perturb_samples": len(NOISE), "normalize": normalize}
    expected = captum_infidelity(model, perturb, IMAGES, whole, **options)
    found = infidelity(model, IMAGES, given, TARGETS, NOISE, normalize=normalize)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_naive_version_of_probabilities_and_one_by_one() -> None:
    model = network()
    together = infidelity(model, IMAGES, MAPS, TARGETS, NOISE, "probability")
    for row, target in enumerate(TARGETS):
        errors = []
        for noise in NOISE[:, row]:
            chances = [model(image[None]).softmax(dim=1)[0, target] for image in (IMAGES[row], IMAGES[row] - noise)]
            errors.append(((noise * MAPS[row]).sum() - (chances[0] - chances[1])).square())
        torch.testing.assert_close(together[row], torch.stack(errors).mean())
        rows = slice(row, row + 1)
        alone = infidelity(model, IMAGES[rows], MAPS[rows], TARGETS[rows], NOISE[:, rows], "probability")
        torch.testing.assert_close(alone[0], together[row])


def test_a_map_of_zeros_foretells_nothing_and_nan_stays() -> None:
    model, maps = network(), MAPS.clone()
    maps[0], maps[1, 2, 2] = 0, torch.nan
    plain, scaled = (infidelity(model, IMAGES, maps, TARGETS, NOISE, normalize=one) for one in (False, True))
    assert plain[0] == scaled[0] > 0
    assert plain.isnan().tolist() == scaled.isnan().tolist() == [False, True, False]


def test_attributions_of_another_number_of_channels() -> None:
    with pytest.raises(ValueError, match=r"attributions has the shape \(3, 2, 6, 5\).*one a channel"):
        infidelity(network(), IMAGES, torch.zeros(3, 2, 6, 5), TARGETS, NOISE)


def test_no_perturbation() -> None:
    with pytest.raises(ValueError, match="perturbations is empty"):
        infidelity(network(), IMAGES, MAPS, TARGETS, [])


def test_squares_lie_anywhere_within_the_image() -> None:
    images = torch.ones(2, 3, 4, 6)
    removed = torch.stack(list(square_perturbations(images, KeyNoise(0, ["a", "b"], 2), 200, 3)))
    assert (removed.sum(dim=(3, 4)) == 9).all()
    assert {tuple(one.nonzero()[0].tolist()) for one in removed[:, 0, 0]} == {
        (row, column) for row in range(2) for column in range(4)
    }
    assert not torch.equal(removed[:, 0], removed[:, 1])
    large = next(square_perturbations(images, KeyNoise(0, None, 2), 1, 5))
    assert (large.sum(dim=(2, 3)) == 4 * 5).all()


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    drawn = torch.stack(list(gaussian_perturbations(torch.zeros(1, 3, 40, 40), KeyNoise(0, None, 1), 20, 0.3)))
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float(drawn.mean())) < 0.01
