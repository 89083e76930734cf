"""What is known of a run: each fact by itself."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from callbacks.preflight_facts import cached_bytes, has_random_weights, samples
from callbacks.run_access import asked, backbone_options
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.an8flower.network import FlowerNet


class Early:
    """What cannot be read before there is data."""

    @property
    def classes(self) -> list[str]:
        raise FileNotFoundError("no shards yet")


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        (SimpleNamespace(a=SimpleNamespace(b=3)), "a.b", 3),
        (SimpleNamespace(a=None), "a.b", None),
        (Early(), "classes", None),
        (None, "classes", None),
    ],
)
def test_what_is_not_there_is_none(value: object, path: str, found: object) -> None:
    assert asked(value, path) == found


def test_samples_of_parts() -> None:
    counts = {"train": 9, "val": 4, "test": 5}
    held_out: Any = SimpleNamespace(splits={"train": 1, "test": 1}, train_count=10, num_samples=counts.__getitem__)
    assert [samples(held_out, part) for part in ("train", "held out", "test")] == [9, 1, 5]
    own = SimpleNamespace(splits={"val": 1}, num_samples=counts.__getitem__)
    assert samples(own, "held out") == 4
    assert samples(SimpleNamespace(), "train") is None


@pytest.mark.parametrize(("dtype", "size"), [(None, 4), ("float16", 2), ("float32", 4)])
def test_bytes_that_features_still_take(dtype: str | None, size: int) -> None:
    module: Any = SimpleNamespace(explainer=SimpleNamespace(feature_width=10, num_classes=3))
    data = SimpleNamespace(
        features=SimpleNamespace(cache=True, dtype=dtype), num_samples=lambda _: 100, cached_samples=lambda _: 40
    )
    assert cached_bytes(data, module, "train") == 60 * (10 * size + 3 * 4)
    data.features.cache = False
    assert cached_bytes(data, module, "train") is None
    assert cached_bytes(SimpleNamespace(), module, "train") is None


def test_a_module_explains_or_trains_a_network() -> None:
    options = BackboneOptions("resnet18")
    explaining: Any = nn.Module()
    explaining.explainer = SimpleNamespace(backbone=SimpleNamespace(options=options))
    training: Any = nn.Module()
    training.backbone = options
    assert backbone_options(explaining) is options
    assert backbone_options(training) is options
    assert backbone_options(nn.Linear(1, 1)) is None


class ReadsItsWeights(nn.Linear):
    """As a class of one's own may: the same however often it is made."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.load_state_dict({"weight": torch.ones(2, 2), "bias": torch.zeros(2)})


def test_a_network_that_was_given_as_it_is_may_have_been_trained() -> None:
    given: Any = nn.Module()
    given.explainer = SimpleNamespace(backbone=FrozenBackbone(FlowerNet()))
    assert not has_random_weights(given)
    given.explainer = SimpleNamespace(backbone=FrozenBackbone("vitrine.data.an8flower.network:FlowerNet"))
    assert has_random_weights(given)
    assert not has_random_weights(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("options", "random"),
    [
        (BackboneOptions("resnet18"), True),
        (BackboneOptions("timm:resnet18"), True),
        (BackboneOptions("vitrine.data.an8flower.network:FlowerNet"), True),
        (BackboneOptions(f"{__name__}:ReadsItsWeights"), False),
        (BackboneOptions("resnet18", "DEFAULT"), False),
    ],
)
def test_networks_without_weights_are_random(options: BackboneOptions, *, random: bool) -> None:
    assert options.has_random_weights is random
