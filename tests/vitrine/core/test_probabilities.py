"""Probabilities of one logit and of several labels, wherever a probability is used."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution import RISE, InversionMask, MeaningfulPerturbation
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.probabilities import class_log_probabilities, class_probabilities
from vitrine.explainers import InversionExplainer, InversionOptions
from vitrine.metrics.box_occlusion import box_occlusion
from vitrine.metrics.functional import deletion_curve, insertion_curve
from vitrine.visualization.panel import probability_of

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
MAPS = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(6))


class Logits(nn.Module):
    """A network of one logit z, which it gives as a test asks: (z), (0, z), or (z, another label)."""

    def __init__(self, form: Callable[[Tensor], list[Tensor]], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        body = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1)]
        self.body = nn.Sequential(*body)
        self.body[4].get_parameter("weight").data *= 20
        self.form = form

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(self.form(self.body(images)), dim=1)


def one(z: Tensor) -> list[Tensor]:
    return [z]


def zero_and_one(z: Tensor) -> list[Tensor]:
    return [torch.zeros_like(z), z]


def beside(other: float) -> Callable[[Tensor], list[Tensor]]:
    return lambda z: [z, torch.full_like(z, other)]


def curve(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda model, target, **options: function(model, IMAGES, MAPS, torch.full((2,), target), **options)


def of_inversion(model: nn.Module, target: int, *, multi_label: bool = False, **options: str) -> Tensor:
    overrides = {"inversion_steps": 2, "class_steps": 4, **options}
    explainer = InversionExplainer(FrozenBackbone(model), InversionOptions("released", overrides, image_size=16))
    explainer.multi_label = multi_label
    explanation = explainer.explain(IMAGES, target)
    return torch.cat([explanation.heatmaps.flatten(1), explanation.scores], dim=1)


def of_method(make: Callable[..., RISE | MeaningfulPerturbation]) -> Callable[..., Tensor]:
    return lambda model, target, **options: make(model, **options).attribute(IMAGES, target)


USES: dict[str, Callable[..., Tensor]] = {
    "RISE": of_method(lambda model, **options: RISE(model, n_samples=30, grid=3, **options)),
    "MeaningfulPerturbation": of_method(
        lambda model, **options: MeaningfulPerturbation(
            model, iterations=5, grid=4, blur=2, mask_blur=1, jitter=1, **options
        )
    ),
    "insertion": curve(insertion_curve),
    "deletion": curve(deletion_curve),
    "box occlusion": curve(partial(box_occlusion, patch_size=4)),
    "inversion": of_inversion,
    "inversion by log-probability": lambda *arguments, **options: of_inversion(
        *arguments, score="log_probability", **options
    ),
}


@pytest.mark.parametrize("name", USES)
def test_one_logit_is_the_second_of_two(name: str) -> None:
    of_one, of_two = USES[name](Logits(one), 0), USES[name](Logits(zero_and_one), 1)
    torch.testing.assert_close(of_one, of_two, rtol=1e-3, atol=1e-5)
    assert (of_one - USES[name](Logits(one, seed=1), 0)).abs().max() > 1e-3  # another network has another result


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("other", [0.0, 100.0])
def test_other_labels_take_nothing_away(name: str, other: float) -> None:
    of_label = USES[name](Logits(beside(other)), 0, multi_label=True)
    torch.testing.assert_close(of_label, USES[name](Logits(one), 0), rtol=1e-3, atol=1e-5)


def test_inversion_of_a_class_by_mask_has_the_probability_of_two_logits() -> None:
    masks = [
        InversionMask(Logits(form), variant="released", inversion_steps=1, class_steps=3)
        for form in (one, zero_and_one)
    ]
    torch.testing.assert_close(masks[0].attribute(IMAGES, 0), masks[1].attribute(IMAGES, 1), rtol=1e-3, atol=1e-5)


def test_probabilities_and_their_logarithms() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [200.0, -200.0, 0.0]], dtype=torch.float64)
    assert torch.equal(class_probabilities(logits), logits.softmax(dim=1))
    assert torch.equal(class_probabilities(logits, multi_label=True), logits.sigmoid())
    assert torch.equal(class_log_probabilities(logits), logits.log_softmax(dim=1))
    assert torch.equal(class_log_probabilities(logits, multi_label=True), F.logsigmoid(logits))
    assert class_log_probabilities(torch.tensor([[-200.0]])).item() == -200
    assert class_probabilities(torch.zeros(1, 2).half()).dtype == torch.float32


@pytest.mark.parametrize(
    ("logits", "multi_label", "probability"),
    [([3.0], False, 0.95257), ([3.0, 3.0], False, 0.5), ([3.0, 3.0], True, 0.95257)],
)
def test_panels_show_the_same_probability(logits: list[float], multi_label: bool, probability: float) -> None:
    label = torch.tensor([0])
    explanation = Explanation(
        torch.zeros(1, 1, 2, 2),
        torch.ones(1, 1),
        [["a"]],
        label,
        label,
        torch.tensor([logits]),
        multi_label=multi_label,
    )
    assert probability_of(explanation, 0) == pytest.approx(probability, abs=1e-4)
