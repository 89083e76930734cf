"""Bad calls of the programming interface: methods, explainers, backbones and metrics."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.fuzz.bad_calls import fault_of
from vitrine.attribution.registry import all_methods
from vitrine.backbones import FrozenBackbone
from vitrine.explainers import InversionExplainer, InversionOptions, SRAEExplainer, SRAEOptions

GOOD = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
NAN = GOOD.clone()
NAN[1, 0, 3, 3] = float("nan")

BAD_IMAGES: dict[str, Any] = {
    "uint8": (GOOD * 255).to(torch.uint8),
    "int64": torch.ones(2, 3, 16, 16, dtype=torch.int64),
    "bool": GOOD > 0.5,
    "complex": GOOD.to(torch.complex64),
    "three dimensions": GOOD[0],
    "two dimensions": GOOD[0, 0],
    "five dimensions": GOOD[None],
    "channels last": GOOD.permute(0, 2, 3, 1),
    "one channel": GOOD[:, :1],
    "four channels": torch.rand(2, 4, 16, 16),
    "no pixels": GOOD[..., :0],
    "NaN": NAN,
    "infinity": GOOD / 0,
    "numpy": GOOD.numpy(),
    "list": [GOOD[0]],
    "None": None,
    "text": "image.png",
    "number": 3.0,
    "tuple": (GOOD, GOOD),
    "double": GOOD.double(),
}
BAD_TARGETS: dict[str, Any] = {
    "too high": 99,
    "negative": -1,
    "float": 1.7,
    "whole float": 1.0,
    "True": True,
    "booleans": [True, False],
    "numpy float": np.float64(1),
    "float tensor": torch.tensor([0.0, 1.0]),
    "three of two": [0, 1, 2],
    "nested thrice": [[[0]], [[1]]],
    "text": "cat",
    "texts": ["cat", "dog"],
    "NaN": float("nan"),
    "complex": 1j,
    "dict": {"target": 1},
    "ragged": [[0], [0, 1]],
    "one beyond of two": [0, 99],
    "multi-hot": torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
}


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


def methods() -> dict[str, Any]:
    """One of each attribution method, with a layer."""
    network = a_network()
    return {name: kind(network, "3", **kind.quick_options) for name, kind in all_methods().items() if name != "Center"}


def explainers() -> dict[str, Any]:
    torch.manual_seed(0)
    backbone = FrozenBackbone(a_network())
    steps = {"inversion_steps": 1, "class_steps": 1}
    return {
        "SRAE": SRAEExplainer(backbone, SRAEOptions(layer="3", num_features=2, hidden=(4,), image_size=16)),
        "inversion": InversionExplainer(backbone, InversionOptions(overrides=steps, image_size=16)),
    }


def faults_in(calls: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    found = {name: fault_of(call) for name, call in calls.items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def explained(method: Any) -> dict[str, int]:
    return {"target": 1} if method.explains_classes else {"channel": 1}


def calls_of_methods() -> dict[str, Callable[[], Any]]:
    calls: dict[str, Callable[[], Any]] = {}
    for name, method in methods().items():
        for kind, images in BAD_IMAGES.items():
            calls[f"{name}, images {kind}"] = partial(method.attribute, images, **explained(method))
        for kind, target in BAD_TARGETS.items():
            key = "target" if method.explains_classes else "channel"
            calls[f"{name}, {key} {kind}"] = partial(method.attribute, GOOD, **{key: target})
        calls[f"{name}, both"] = partial(method.attribute, GOOD, 1, channel=1)
    return calls


def test_methods_refuse_what_they_cannot_explain() -> None:
    calls = calls_of_methods()
    assert faults_in(calls) == {}
    assert len(calls) > 500


@pytest.mark.parametrize("name", ["SRAE", "inversion"])
def test_explainers_refuse_what_they_cannot_explain(name: str) -> None:
    explainer = explainers()[name]
    calls = {f"images {kind}": partial(explainer.explain, images) for kind, images in BAD_IMAGES.items()}
    calls |= {f"target {kind}": partial(explainer.explain, GOOD, target) for kind, target in BAD_TARGETS.items()}
    assert faults_in(calls) == {}


BAD_MODELS: dict[str, Callable[[], nn.Module]] = {
    "text": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4), _Gives(lambda _: "cat")),
    "nothing": lambda: _Gives(lambda _: None),
    "integers": lambda: _Gives(lambda images: images.mean(dim=(2, 3)).argmax(dim=1)),
    "one batch": lambda: _Gives(lambda images: images.mean(dim=(0, 2, 3))[None]),
    "unnamed dict": lambda: _Gives(lambda images: {"a": images.mean(dim=(2, 3)), "b": images.mean(dim=(2, 3))}),
    "two tensors": lambda: _Gives(lambda images: (images.mean(dim=(2, 3)), images.mean(dim=(2, 3)))),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)),
    "meta": lambda: a_network().to("meta"),
}


class _Gives(nn.Module):
    def __init__(self, give: Callable[[Any], Any]) -> None:
        super().__init__()
        self.give = give

    def forward(self, images: Any) -> Any:
        return self.give(images)


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_models_that_give_no_logits_are_refused(kind: str) -> None:
    names = [
        name for name, method in all_methods().items() if method.explains_classes and name not in {"Center", "CAM"}
    ]
    calls: dict[str, Callable[[], Any]] = {name: partial(_attribute, name, BAD_MODELS[kind]()) for name in names}
    calls["FrozenBackbone"] = lambda: FrozenBackbone(BAD_MODELS[kind]())(GOOD)
    assert faults_in(calls) == {}


def _attribute(name: str, model: nn.Module) -> torch.Tensor:
    method: Any = all_methods()[name]
    maps: torch.Tensor = method(model, **method.quick_options).attribute(GOOD)
    return maps
