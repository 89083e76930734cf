"""The optimisation is the paper's, and the released code's, step by step; and each row's is its own."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.inversion import literal
from vitrine.attribution.inversion import (
    InversionLayers,
    InversionObjective,
    InversionResult,
    InversionSettings,
    InvertedNetwork,
    inversion_layers,
    optimise,
    settings_of,
)
from vitrine.attribution.inversion.objective import background_of
from vitrine.backbones.guard import eval_guard

TARGETS = [1, 4, 1]
EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def inverted(
    model: nn.Module,
    images: Tensor,
    targets: list[int],
    settings: InversionSettings,
    layers: InversionLayers | None = None,
) -> tuple[InversionResult, list[Tensor]]:
    """The result, and the losses of each step."""
    losses: list[Tensor] = []
    with eval_guard(model), torch.no_grad():
        network = InvertedNetwork(model, layers or inversion_layers(model, images[:1]), settings)
        reading = network.read(images, lambda _: torch.tensor(targets))
        objective = InversionObjective.of(network, settings, images, reading)
        start = reading.maps.even_weights(settings.start)
        return optimise(objective, start, losses.append), losses


def test_algorithms_one_and_two(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    background = background_of(inverted_images, "blur")
    settings = settings_of("paper", class_penalty=1.0)
    result, losses = inverted(inverted_net, inverted_images, TARGETS, settings)
    assert result.steps.tolist() == [80] * 3
    assert len(losses) == 80
    layers = ("features.5", "features.4")
    for row, target in enumerate(TARGETS):
        part = slice(row, row + 1)
        expected = literal.paper(inverted_net, inverted_images[part], background[part], target, layers)
        torch.testing.assert_close(torch.stack([loss[row] for loss in losses]), torch.stack(expected.losses), **EXACT)
        torch.testing.assert_close(result.weights[row], expected.weights, **EXACT)
        torch.testing.assert_close(result.masks[part], expected.mask, **EXACT)
        torch.testing.assert_close(result.loss[row], expected.losses[-1], **EXACT)


def test_released_scheme(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    background = background_of(inverted_images, "blur")
    layers = InversionLayers("features.5", ("features.5",))
    result, losses = inverted(inverted_net, inverted_images, TARGETS, settings_of("released"), layers)
    assert result.steps.tolist() == [80] * 3
    for row, target in enumerate(TARGETS):
        part = slice(row, row + 1)
        expected = literal.released(inverted_net, inverted_images[part], background[part], target, "features.5")
        torch.testing.assert_close(torch.stack([loss[row] for loss in losses]), torch.stack(expected.losses), **EXACT)
        torch.testing.assert_close(result.weights[row], expected.weights, **EXACT)
        torch.testing.assert_close(result.masks[part], expected.mask, **EXACT)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("background", ["blur", "noise"])
def test_a_batch_is_so_many_single_runs(
    variant: str, background: str, inverted_net: nn.Module, inverted_images: Tensor
) -> None:
    settings = settings_of(variant, class_steps=20, background=background)
    together, _ = inverted(inverted_net, inverted_images, TARGETS, settings)
    for row, target in enumerate(TARGETS):
        alone, _ = inverted(inverted_net, inverted_images[row : row + 1], [target], settings)
        for name in ("weights", "masks", "loss", "steps", "converged"):
            torch.testing.assert_close(
                getattr(together, name)[row : row + 1], getattr(alone, name), rtol=1e-9, atol=1e-10
            )


def test_a_row_that_rests_leaves_the_others_as_they_are(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    settings = settings_of("paper", class_steps=40, tolerance=2e-3)
    whole, _ = inverted(inverted_net, inverted_images, TARGETS, settings)
    stopped, losses = inverted(
        inverted_net, inverted_images, TARGETS, dataclasses.replace(settings, stop_when_converged=True)
    )
    assert whole.steps.tolist() == [50] * 3
    assert len(set(stopped.steps.tolist())) > 1, "rows should rest at different steps, or nothing is tested"
    assert [len(loss) for loss in losses] == [int((stopped.steps > step).sum()) for step in range(50)]
    for row, target in enumerate(TARGETS):
        steps = int(stopped.steps[row])
        shorter = dataclasses.replace(settings, class_steps=steps - settings.inversion_steps)
        alone, _ = inverted(inverted_net, inverted_images[row : row + 1], [target], shorter)
        assert bool(stopped.converged[row]) == (steps < 50) or steps == 50
        for name in ("weights", "masks", "loss", "steps", "converged"):
            torch.testing.assert_close(
                getattr(stopped, name)[row : row + 1], getattr(alone, name), rtol=1e-9, atol=1e-10
            )
