import dataclasses
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import (
    CAM,
    RISE,
    GradCAM,
    GuidedBackprop,
    IntegratedGradients,
    Method,
    Occlusion,
    Saliency,
    ScoreCAM,
)
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.outputs import OutputChoice, class_logits, logits_given
from vitrine.explainers import InversionExplainer, InversionOptions, SRAEExplainer, SRAEOptions
from vitrine.filters.responses import FilterResponses

LOGITS = torch.arange(10.0).view(2, 5)
FEATURES = torch.zeros(2, 8)


@dataclasses.dataclass
class Output:
    logits: Tensor
    features: Tensor


class Named(NamedTuple):
    logits: Tensor
    loss: float


@pytest.mark.parametrize(
    ("output", "choice"),
    [
        (LOGITS, None),
        (LOGITS[..., None, None], None),
        (LOGITS[..., None, None] + torch.tensor([[-1.0, 1.0], [2.0, -2.0]]), None),
        (LOGITS[..., None] + torch.tensor([-1.0, 0.0, 1.0]), None),
        ({"logits": LOGITS, "features": FEATURES}, None),
        ({"out": LOGITS[..., None, None], "aux": FEATURES}, None),
        ({"scores": LOGITS, "features": FEATURES}, "scores"),
        ((FEATURES, LOGITS), 1),
        ([LOGITS], None),
        ((LOGITS, {"attention": FEATURES}), None),
        (Output(LOGITS, FEATURES), None),
        (Output(FEATURES, LOGITS), "features"),
        (Named(LOGITS, 0.5), None),
        ({"heads": [FEATURES, LOGITS]}, lambda output: output["heads"][1]),
        (LOGITS[:, :, None].expand(-1, -1, 4), lambda output: output[..., 3]),
    ],
)
def test_logits_are_found(output: Any, choice: OutputChoice | None) -> None:
    torch.testing.assert_close(class_logits(output, 2, choice), LOGITS)


def test_one_value_an_image_is_one_logit() -> None:
    assert class_logits(torch.zeros(3), 3).shape == (3, 1)


@pytest.mark.parametrize(
    ("output", "choice", "message"),
    [
        ({"scores": LOGITS}, None, "dict of 'scores'; say which"),
        (
            {"scores": LOGITS, "features": FEATURES},
            None,
            "dict of 'scores', 'features'; say which part of it by output",
        ),
        ((LOGITS, FEATURES), None, "tuple of 0, 1; say which"),
        ({"scores": LOGITS}, "score", "output='score' is no part of the model's dict; its parts: 'scores'"),
        ((LOGITS, FEATURES), 2, "output=2 is no part"),
        (LOGITS, "logits", "its parts: none"),
        (LOGITS[:1], None, r"B = 2, got \(1, 5\)"),
        (torch.tensor(1.0), None, "B = 2"),
        (LOGITS.argmax(dim=1), None, "torch.int64, which holds no logits"),
        ("logits", None, "is a str"),
        (None, None, "is a NoneType"),
        ({}, None, "is a dict"),
    ],
)
def test_what_holds_no_logits_is_named(output: Any, choice: OutputChoice | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_logits(output, 2, choice)


class Wrapped(nn.Module):
    """Gives its logits in a form that the test chooses."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        self.form = form

    def forward(self, images: Tensor) -> Any:
        return self.form(self.head(self.features(images)))


FORMS: dict[str, tuple[Any, OutputChoice | None]] = {
    "dict": (lambda logits: {"logits": logits, "loss": None}, None),
    "dataclass": (lambda logits: Output(logits, logits.detach()), None),
    "tuple": (lambda logits: (logits.detach() * 0, logits), 1),
    "places of one": (lambda logits: logits[..., None, None], None),
    "maps": (lambda logits: logits[..., None, None] * torch.tensor([[2.0, 0.0], [1.0, 1.0]]), None),
    "function": (lambda logits: {"a": {"b": logits}}, lambda output: output["a"]["b"]),
}
METHODS: dict[str, Callable[..., Method]] = {
    "Saliency": Saliency,
    "GuidedBackprop": GuidedBackprop,
    "GradCAM": lambda model, **options: GradCAM(model, "features", **options),
    "ScoreCAM": lambda model, **options: ScoreCAM(model, "features", **options),
    "CAM": CAM,
    "RISE": lambda model, **options: RISE(model, n_samples=8, grid=2, **options),
    "Occlusion": lambda model, **options: Occlusion(model, None, 4, 4, **options),
    "IntegratedGradients": lambda model, **options: IntegratedGradients(model, steps=3, **options),
}


# CAM looks for the linear layer at the end, after which a mean over places may not stand.
@pytest.mark.parametrize(("name", "form"), [pair for pair in product(METHODS, FORMS) if pair != ("CAM", "maps")])
def test_maps_are_those_of_the_plain_logits(form: str, name: str) -> None:
    give, choice = FORMS[form]
    images = torch.rand(2, 3, 8, 8)
    for target in (None, 1):
        expected = METHODS[name](Wrapped(lambda logits: logits)).attribute(images, target)
        torch.testing.assert_close(METHODS[name](Wrapped(give), output=choice).attribute(images, target), expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_frozen_backbone_gives_plain_logits(form: str) -> None:
    give, choice = FORMS[form]
    images = torch.rand(2, 3, 8, 8)
    backbone = FrozenBackbone(Wrapped(give), output=choice)
    torch.testing.assert_close(backbone(images).logits, Wrapped(lambda logits: logits)(images))


def test_one_value_an_image_is_explained() -> None:
    images = torch.rand(2, 3, 8, 8)
    model = Wrapped(lambda logits: logits[:, 2])
    expected = Saliency(Wrapped(lambda logits: logits)).attribute(images, 2)
    torch.testing.assert_close(Saliency(model).attribute(images, 0), expected)


def test_the_model_gives_its_own_output_afterwards() -> None:
    model = Wrapped(lambda logits: {"logits": logits, "loss": None})
    with logits_given(model):
        assert isinstance(model(torch.rand(1, 3, 8, 8)), Tensor)
    assert isinstance(model(torch.rand(1, 3, 8, 8)), dict)
    assert not model._forward_hooks


def heatmaps_of(kind: str, backbone: FrozenBackbone, images: Tensor) -> Tensor:
    torch.manual_seed(0)
    if kind == "responses":
        return FilterResponses(backbone, image_size=8)(images)["logits"]
    if kind == "srae":
        options = SRAEOptions(layer="features", num_features=2, hidden=(6,), image_size=8)
        return SRAEExplainer(backbone, options).explain(images).heatmaps
    steps = {"inversion_steps": 1, "class_steps": 1}
    return InversionExplainer(backbone, InversionOptions(overrides=steps, image_size=8)).explain(images).heatmaps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["responses", "srae", "inversion"])
def test_explainers_take_networks_of_every_output(form: str, kind: str) -> None:
    give, choice = FORMS[form]
    images = torch.rand(2, 3, 8, 8)
    expected = heatmaps_of(kind, FrozenBackbone(Wrapped(lambda logits: logits)), images)
    found = heatmaps_of(kind, FrozenBackbone(Wrapped(give), output=choice), images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
