"""The two losses, and steps along them."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.inversion import (
    InversionLayers,
    InversionObjective,
    InversionSettings,
    InvertedNetwork,
    inversion_layers,
    optimisation,
    optimise,
    settings_of,
)


def objective_of(model: nn.Module, images: Tensor, variant: str = "paper", **changes: Any) -> InversionObjective:
    settings = settings_of(variant, **changes)
    network = InvertedNetwork(model, inversion_layers(model, images[:1]), settings)
    reading = network.read(images, lambda logits: torch.arange(len(logits)))
    return InversionObjective.of(network, settings, images, reading)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("score", ["probability", "log_probability", "logit"])
def test_gradients_of_both_losses(variant: str, score: str, inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = objective_of(inverted_net, inverted_images[:2, :, :16, :16], variant, score=score)
    weights = 0.1 + torch.rand(len(objective.images), objective.maps.channels, dtype=torch.float64)
    for loss in (objective.inversion_loss, objective.class_loss):
        assert torch.autograd.gradcheck(loss, weights.requires_grad_())


def test_what_is_shown_and_what_is_left_are_the_image_and_its_background(
    inverted_net: nn.Module, inverted_images: Tensor
) -> None:
    objective = objective_of(inverted_net, inverted_images)
    masks = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(
        objective.shown(masks) + objective.shown(1 - masks), objective.images + objective.background
    )
    torch.testing.assert_close(objective.shown(torch.ones_like(masks)), inverted_images)
    torch.testing.assert_close(objective.shown(torch.zeros_like(masks)), objective.background)
    torch.testing.assert_close(objective.inversion_error(torch.ones_like(masks)), torch.zeros(3, dtype=torch.float64))


def test_scores_are_probabilities_their_logarithms_or_logits(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    masks, classes = torch.rand(3, 1, 32, 32, dtype=torch.float64), torch.arange(3)
    for score in ("probability", "log_probability", "logit"):
        objective = objective_of(inverted_net, inverted_images, score=score)
        images = (masks, 1 - masks)
        logits = [inverted_net(objective.images * m + objective.background * (1 - m)) for m in images]
        expected = {
            "probability": [out.exp() / out.exp().sum(dim=1, keepdim=True) for out in logits],
            "log_probability": [out - out.exp().sum(dim=1, keepdim=True).log() for out in logits],
            "logit": logits,
        }[score]
        for actual, reference in zip(objective.class_scores(masks), expected, strict=True):
            torch.testing.assert_close(actual, reference[classes, classes])


def test_penalties_and_relative_errors(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    weights = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    plain, squared = (objective_of(inverted_net, inverted_images, name) for name in ("paper", "released"))
    assert plain.penalty(weights).tolist() == [2.5]
    assert squared.penalty(weights).tolist() == [4.25]
    masks = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    expected = plain.inversion_error(masks) / plain.features.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(squared.inversion_error(masks), expected)


def test_a_stage_runs_the_network_once_a_step_for_all_rows(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = objective_of(inverted_net, inverted_images, inversion_steps=4, class_steps=5)
    batches: list[int] = []
    handle = inverted_net.register_forward_pre_hook(lambda _module, inputs: batches.append(len(inputs[0])))
    optimise(objective, torch.full((3, 12), 0.1, dtype=torch.float64))
    handle.remove()
    assert batches == [3] * 4 + [6] * 5


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_rows_that_go_through_a_cpu_in_parts_come_out_the_same(
    variant: str, inverted_net: nn.Module, inverted_images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = objective_of(inverted_net, inverted_images, variant, inversion_steps=3, class_steps=5)
    start = torch.full((3, 12), 0.1, dtype=torch.float64)
    assert optimisation.rows_at_once(torch.empty(9, 3, 224, 224)) == 4
    assert optimisation.rows_at_once(torch.empty(9, 3, 2000, 2000)) == 1
    assert optimisation.rows_at_once(torch.empty(9, 3, 224, 224, device="meta")) == 9
    expected = optimise(objective, start)
    monkeypatch.setattr(optimisation, "CPU_PIXELS", 2 * 32**2)
    batches: list[int] = []
    inverted_net.register_forward_pre_hook(lambda _module, inputs: batches.append(len(inputs[0])))
    actual = optimise(objective, start)
    assert batches == [2, 1] * 3 + [4, 2] * 5
    for name in ("weights", "masks", "loss", "steps", "converged"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("one_schedule", [False, True])
def test_the_rate_is_halved_after_steps_ten_and_twenty(
    one_schedule: bool, inverted_net: nn.Module, inverted_images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"inversion_steps": 12, "class_steps": 25, "learning_rate": 0.5}
    objective = objective_of(inverted_net, inverted_images, "released" if one_schedule else "paper", **settings)
    recorded = [torch.full((3, 12), 100.0, dtype=torch.float64)]

    def slope_of_one(_objective: InversionObjective, weights: Tensor) -> Tensor:
        recorded.append(weights.detach().clone())
        return weights.sum(dim=1)

    for name in ("inversion_loss", "class_loss"):
        monkeypatch.setattr(InversionObjective, name, slope_of_one)
    result = optimise(objective, recorded[0])
    moved = -torch.stack([*recorded[1:], result.weights])[:, 0, 0].diff()
    if one_schedule:
        expected = [0.5] * 10 + [0.25] * 10 + [0.125] * 10 + [0.0625] * 7
    else:
        expected = [0.5] * 12 + [0.5] * 10 + [0.25] * 10 + [0.125] * 5
    torch.testing.assert_close(moved, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_weights_are_never_negative_and_start_is_left_alone(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = objective_of(inverted_net, inverted_images, class_steps=20, inversion_penalty=1e4)
    start = torch.full((3, 12), 0.1, dtype=torch.float64)
    result = optimise(objective, start)
    assert bool((result.weights >= 0).all())
    assert bool((result.weights == 0).any())
    assert bool((start == 0.1).all())
    assert bool((result.masks >= 0).all())
    assert bool((result.masks <= 1).all())


def test_no_steps_give_the_start(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = objective_of(inverted_net, inverted_images, inversion_steps=0, class_steps=0)
    start = torch.rand(3, 12, dtype=torch.float64)
    result = optimise(objective, start)
    torch.testing.assert_close(result.weights, start)
    torch.testing.assert_close(result.masks, objective.masks(start))
    assert bool(result.loss.isnan().all())
    assert result.steps.tolist() == [0, 0, 0]
    assert not result.converged.any()


def test_a_loss_that_is_no_number_is_not_at_rest(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    inverted_images[1] = torch.nan
    objective = objective_of(inverted_net, inverted_images, tolerance=1.0, inversion_steps=2, class_steps=3)
    result = optimise(objective, torch.full((3, 12), 0.1, dtype=torch.float64))
    assert result.converged.tolist() == [True, False, True]
    assert bool(result.masks[[0, 2]].isfinite().all())
    stopping = dataclasses.replace(
        objective, settings=dataclasses.replace(objective.settings, stop_when_converged=True)
    )
    assert optimise(stopping, torch.full((3, 12), 0.1, dtype=torch.float64)).steps.tolist() == [3, 5, 3]


def test_rows_that_have_all_left_end_the_work(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = objective_of(inverted_net, inverted_images, tolerance=1.0, class_steps=9, stop_when_converged=True)
    losses: list[Tensor] = []
    result = optimise(objective, torch.full((3, 12), 0.1, dtype=torch.float64), losses.append)
    assert result.steps.tolist() == [11] * 3
    assert [len(loss) for loss in losses] == [3] * 11 + [0] * 8


@pytest.mark.parametrize(
    ("variant", "changes", "expected"),
    [
        ("neither", {}, "variant is 'neither'; give 'paper', 'released', 'fine' or 'smooth'"),
        (
            "paper",
            {"score": "odds"},
            "score is 'odds'; give 'probability', 'log_probability', 'sigmoid' or 'logit'",
        ),
        ("paper", {"background": "sea"}, "background is 'sea'; give 'blur', 'mean' or 'noise'"),
        ("paper", {"inversion_steps": -1}, "inversion_steps is -1; give 0 or more"),
        ("paper", {"class_penalty": float("nan")}, "class_penalty is nan; give 0 or more"),
        ("paper", {"halving": 0}, "halving is 0; give 1 or more"),
        ("paper", {"learning_rate": 0.0}, "learning_rate is 0.0; give a number above 0"),
    ],
)
def test_settings_that_make_no_sense(variant: str, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        settings_of(variant, **changes)


def test_settings_left_out_are_the_variants() -> None:
    assert settings_of("paper", class_penalty=None) == InversionSettings()
    assert settings_of("released", class_penalty=10.0).class_penalty == 10
    assert settings_of("released", class_penalty=10.0).squared_penalty


def test_features_before_an_in_place_relu(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    network = InvertedNetwork(inverted_net, InversionLayers("features.0", ("features.4",)), InversionSettings())
    reading = network.read(inverted_images)
    assert float(reading.features.min()) < 0
    torch.testing.assert_close(network.features(inverted_images), reading.features, rtol=0, atol=0)


# Free pixels


PIXELS: dict[str, Any] = {"mask": "pixels", "start": 0.5, "learning_rate": 0.1}


def pixel_objective(model: nn.Module, images: Tensor, **changes: Any) -> InversionObjective:
    return objective_of(model, images[:2, :, :8, :8], **PIXELS, **changes)


def test_gradients_of_the_losses_of_free_pixels(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    objective = pixel_objective(inverted_net, inverted_images)
    weights = (0.1 + 0.8 * torch.rand(2, 64, dtype=torch.float64)).requires_grad_()
    for loss in (objective.inversion_loss, objective.class_loss):
        assert torch.autograd.gradcheck(loss, weights)


def test_equations_three_and_five(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    """Transcribed: one image and one pixel mask after the other, clipped to [0, 1]."""
    alpha, beta, suppression = 3.0, 0.7, 0.6
    counts = {"inversion_steps": 12, "class_steps": 15}
    weights = {"inversion_penalty": alpha, "class_penalty": beta, "suppression": suppression}
    objective = pixel_objective(inverted_net, inverted_images, **counts, **weights)
    result = optimise(objective, objective.even_weights())
    for row in range(2):
        image, background = objective.images[row : row + 1], objective.background[row : row + 1]
        mask = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64, requires_grad=True)
        for stage, steps in enumerate(counts.values()):
            adam = torch.optim.Adam([mask], lr=0.1)
            for step in range(steps):
                shown, left = image * mask + background * (1 - mask), image * (1 - mask) + background * mask
                if stage == 0:
                    error = (inverted_net.get_submodule("features")(shown) - objective.features[row]).square().sum()
                    loss = error + alpha * mask.mean()
                else:
                    chances = [inverted_net(one).softmax(1)[0, row] for one in (shown, left)]
                    loss = -chances[0] + suppression * chances[1] + beta * mask.mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
                mask.data.clamp_(0, 1)
                adam.param_groups[0]["lr"] /= 2 if stage and (step + 1) % 10 == 0 else 1
        torch.testing.assert_close(result.masks[row], mask.detach()[0], rtol=1e-9, atol=1e-9)
    assert bool((result.masks == 0).any() | (result.masks == 1).any()), "the bounds should be met"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gate": 0.5}, "gate is 0.5; give 0.0"),
        ({"maps": "guided"}, "maps is 'guided'; give 'activations'"),
        ({"smoothing": 0.1}, "smoothing is 0.1; give 0.0"),
        ({"over_maximum": True}, "over_maximum is True; give False"),
    ],
)
def test_settings_of_channels_are_refused_for_free_pixels(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings_of("paper", mask="pixels", **changes)
    with pytest.raises(ValueError, match="mask is 'pixels'; give 'channels'"):
        settings_of("paper", mask="pixels").check_predictor(wanted=True)
