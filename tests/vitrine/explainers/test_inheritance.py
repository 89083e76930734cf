"""Inheritance of heads: which head is whose, and tensors of kept heads to the last bit."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import (
    Explainer,
    InversionExplainer,
    InversionOptions,
    MaskingExplainer,
    MaskingOptions,
    MuLassoExplainer,
    MuLassoOptions,
    SelectedFeaturesExplainer,
    SRAEExplainer,
    SRAEOptions,
    XFeatureOptions,
)
from vitrine.explainers.inheritance import HeadClasses, HeadMap, inherited, taken_rows

BIRDS = HeadClasses([0, 1, 2], ["House Sparrow", "owl", "crane"])
FISH = HeadClasses([0, 1, 3, 4], ["trout", "Crane", "house_sparrow", "pike"])


@pytest.mark.parametrize(
    ("head_map", "rows"),
    [
        (None, (None, 2, 0, None)),
        ("by_name", (None, 2, 0, None)),
        ("by_index", (0, 1, None, None)),
        ({"trout": "owl"}, (1, 2, 0, None)),
        ({"4": 1, "Crane": None}, (None, None, 0, 1)),
        ({"trout": "crane", "Crane": "crane"}, (2, 2, 0, None)),  # both may begin from one
    ],
)
def test_which_head_is_whose(head_map: HeadMap, rows: tuple[int | None, ...]) -> None:
    assert inherited(FISH, BIRDS, head_map).rows == rows


def test_what_becomes_of_heads(tmp_path: Path) -> None:
    found = inherited(FISH, BIRDS, None)
    assert found.groups() == {"kept": ["Crane", "house_sparrow"], "new": ["trout", "pike"], "dropped": ["owl"]}
    assert not found.is_identity
    assert inherited(BIRDS, BIRDS, None).is_identity
    found.write(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("new", "trout", ""),
            ("kept", "Crane", "crane"),
            ("kept", "house_sparrow", "House Sparrow"),
            ("new", "pike", ""),
            ("dropped", "", "owl"),
        ]


@pytest.mark.parametrize(
    ("classes", "earlier", "head_map", "message"),
    [
        (FISH, HeadClasses([0, 1], None), None, r"its classes have no names .*init_from_map: \{CLASS: EARLIER CLASS"),
        (HeadClasses([0, 1], None), BIRDS, "by_name", "this run's classes have no names"),
        (
            FISH,
            HeadClasses([0, 1], ["PIKE", "Pike"]),
            None,
            r"'pike' and another class .* 'PIKE' \(0\) or 'Pike' \(1\)",
        ),
        (HeadClasses([0, 1], ["Owl", "OWL"]), BIRDS, None, "'Owl' and another class may both begin from the same head"),
        (FISH, BIRDS, {"trot": "owl"}, "init_from_map names 'trot', which has no head; near names: trout"),
        (FISH, BIRDS, {"trout": 7}, "init_from_map names 7, which has no head"),
    ],
)
def test_refusals(classes: HeadClasses, earlier: HeadClasses, head_map: HeadMap, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inherited(classes, earlier, head_map)


# Tensors


def test_blocks_along_an_axis() -> None:
    own, saved = torch.zeros(5, 6), torch.arange(20.0).reshape(5, 4)
    taken = taken_rows(own, saved, 1, [1, None, 0], "weight")  # two columns a head
    assert torch.equal(taken, torch.cat([saved[:, 2:], own[:, :2], saved[:, :2]], dim=1))
    for other in (torch.zeros(4, 4), torch.zeros(5, 3), torch.zeros(5), torch.zeros(5, 4, dtype=torch.int64)):
        with pytest.raises(ValueError, match="'weight' differs"):
            taken_rows(own, other, 1, [1, None, 0], "weight")


def backbone(count: int) -> FrozenBackbone:
    torch.manual_seed(0)
    return FrozenBackbone(OwnNetwork(count))


def srae(**options: Any) -> Callable[[int], Explainer]:
    sizes: dict[str, Any] = {"num_features": 2, "hidden": (5,), "image_size": 16}
    return lambda count: SRAEExplainer(backbone(count), SRAEOptions("relu", **sizes, **options))


def selected(count: int) -> Explainer:
    explainer = SelectedFeaturesExplainer(backbone(count), XFeatureOptions("relu", num_features=2, image_size=16))
    explainer.select(torch.randint(4, (count, 2)), torch.randn(count, 4), torch.randn(count))
    return explainer


def mu_lasso(count: int) -> Explainer:
    explainer = MuLassoExplainer(backbone(count), MuLassoOptions(["conv"], num_heatmaps=2, image_size=16))
    explainer.weights.data.normal_()
    explainer.scaling.factor.uniform_()
    return explainer


EXPLAINERS: dict[str, tuple[Callable[[int], Explainer], str]] = {
    "separate": (srae(), ""),
    "shared": (srae(trunk="shared"), "heads.encoder.0.weight"),
    "shared without decoder": (srae(trunk="shared", decoder=False), "heads.encoder.0.bias"),
    "selected": (selected, ""),
    "mu-Lasso": (mu_lasso, "scaling.factor"),
    "masking": (
        lambda n: MaskingExplainer(backbone(n), MaskingOptions(["relu"], width=4, image_size=16)),
        "decoder.last.weight",
    ),
}
"""Explainers for a number of classes, each with a tensor of no class, where it has some."""


def entries(explainer: Explainer, row: int) -> dict[str, Tensor]:
    """What is one head's own."""
    state, count = explainer.head_state(), len(explainer.head_classes)
    own = {f".{name.partition(f'heads.{row}.')[2]}": value for name, value in state.items() if f"heads.{row}." in name}
    return own | {
        name: state[name].chunk(count, axis)[row] for name, axis in explainer.class_axes.items() if name in state
    }


@pytest.mark.parametrize("kind", EXPLAINERS)
def test_heads_of_other_classes(kind: str) -> None:
    make, shared = EXPLAINERS[kind]
    before, explainer = make(3), make(4)
    explainer.redraw_heads()
    drawn = {name: value.clone() for name, value in explainer.head_state().items()}
    untouched = make(4)
    untouched.load_state_dict(drawn, strict=False)
    explainer.inherit_heads(before.head_state(), [2, None, 0, None])
    for row, source, place in ((0, before, 2), (2, before, 0), (1, untouched, 1), (3, untouched, 3)):
        expected = entries(source, place)
        assert expected
        for name, value in entries(explainer, row).items():
            assert torch.equal(value, expected[name]), name
    if shared:
        assert torch.equal(explainer.head_state()[shared], before.head_state()[shared])


def test_heads_of_another_size_are_refused() -> None:
    for kind, options in (("separate", {"num_features": 3}), ("shared", {"num_features": 3, "trunk": "shared"})):
        other = SRAEExplainer(backbone(3), SRAEOptions("relu", hidden=(5,), image_size=16, **options))
        with pytest.raises(ValueError, match="differs"):
            EXPLAINERS[kind][0](4).inherit_heads(other.head_state(), [0, 1, 2, None])
    with pytest.raises(ValueError, match=r"heads\.0\.decoder"):
        srae()(4).inherit_heads(srae(decoder=False)(3).head_state(), [0, 1, 2, None])


def test_a_predictor_is_of_no_class() -> None:
    options = InversionOptions(predictor=4, image_size=16, inversion_layer="relu", mask_layers=["relu"])
    before, explainer = (InversionExplainer(backbone(count), options) for count in (3, 4))
    assert list(explainer.head_classes) == []
    explainer.inherit_heads(before.head_state(), [])
    for name, value in before.head_state().items():
        assert torch.equal(explainer.head_state()[name], value)
