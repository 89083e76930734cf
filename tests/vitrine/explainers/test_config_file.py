"""explainer.json as anybody may have written it: one sentence for what is wrong, before anything is built of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import vitrine
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.config_file import read_config
from vitrine.explainers.saving import CONFIG_NAME, HEADS_NAME

Config = dict[str, Any]


@pytest.fixture
def folder(explainer: SRAEExplainer, tmp_path: Path) -> Path:
    explainer.preprocessing = Preprocessing(8, None)
    explainer.save(tmp_path / "explainer", metadata={"gap": float("inf"), "loss": float("nan")})
    return tmp_path / "explainer"


def within(name: str, **entries: Any) -> Callable[[Config], Config]:
    return lambda config: config | {name: config[name] | entries}


def without(name: str) -> Callable[[Config], Config]:
    return lambda config: {key: value for key, value in config.items() if key != name}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


EDITED: dict[str, tuple[Callable[[Config], Any], str]] = {
    "a list": (lambda config: [config], "holds a list, not keys with values"),
    "null": (lambda _: None, "holds a NoneType"),
    "a number": (lambda _: 3, "holds a int"),
    "nothing": (lambda _: {}, "has format version None"),
    "true as version": (lambda c: c | {"format_version": True}, "has format version True"),
    "version as text": (lambda c: c | {"format_version": "1"}, "has format version 1, this release"),
    **{f"no {name}": (without(name), f"has no '{name}'") for name in (
        "explainer", "options", "classes", "backbone", "weight_digest", "preprocessing",
    )},
    **{
        f"{name} is {value!r}"[:50]: (lambda c, name=name, value=value: c | {name: value}, f"{name} is .*; it has to be")  # type: ignore[misc]
        for name, value in (
            ("explainer", 3), ("explainer", None), ("options", []), ("options", "x"), ("classes", {}), ("classes", [1]),
            ("classes", "abc"), ("classes", [["a"]]), ("weight_digest", "abc"), ("preprocessing", {}),
            ("class_path", "a" * 100_000), ("backbone", "resnet18"), ("backbone", None), ("weight_digest", 7),
            ("weight_digest", None), ("preprocessing", []), ("preprocessing", 0), ("preprocessing", ""),
            ("preprocessing", False), ("class_path", 1), ("class_path", None), ("backbone_arguments", {}),
            ("multi_label", None), ("multi_label", 1), ("multi_label", "false"),
        )
    },
    "unknown option": (within("options", no_such=1), "options: SRAEOptions has no option 'no_such'"),
    "option of another type": (within("options", num_features="3"), "options: num_features is '3'; give"),
    "option of another range": (within("options", num_features=-1), "options: num_features is -1; give"),
    "option null": (within("options", hidden=None), "options: hidden is null; give"),
    "another layer": (within("options", layer="features.9"), "features.9"),
    "layer as list": (within("options", layer=["features"]), "options: layer is .*; give"),
    "classes that are none": (within("options", explained_classes=[0, 7]), "explained_classes"),
    "classes that are no numbers": (within("options", explained_classes=[[0]]), "options: explained_classes"),
    "vast images": (within("options", image_size=10**9), "image_size|SRAEExplainer"),
    "no such preprocessing": (within("preprocessing", sise=3), "preprocessing: Preprocessing has no option 'sise'"),
    "size as text": (within("preprocessing", size="8"), "preprocessing: size is '8'"),
    "two means": (within("preprocessing", mean=[0.1, 0.2]), "preprocessing: mean is"),
    "std of 0": (within("preprocessing", std=[0, 1, 1]), r"preprocessing: std\[0\] is 0"),
    "another digest": (lambda c: c | {"weight_digest": "0" * 64}, "weight digest 0000"),
    "NaN": (within("preprocessing", mean=[float("nan"), 0.0, 0.0]), "preprocessing holds nan"),
    "infinity": (within("backbone", arguments={"width": float("inf")}), "backbone holds inf"),
    "deep": (within("backbone", arguments={"width": nested(60)}), "backbone is nested more than 32 deep"),
    "NUL": (within("backbone", weights="a\0.pth"), r"backbone holds the text 'a\\x00.pth'"),
    "half a character": (lambda c: c | {"classes": ["\ud800", "b", "c"]}, r"classes holds the text '\\ud800'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", EDITED)
def test_edited_entries(kind: str, folder: Path, network: nn.Module) -> None:
    edit, message = EDITED[kind]
    path = folder / CONFIG_NAME
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=message) as refused:
        vitrine.load(folder, backbone=network)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe{}", "is not valid JSON"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' stands twice in one object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"format_version": ' + b"1" * 5000 + b"}", "is not valid JSON"),
        (b" " * (64 * 2**20 + 1), "more than the 67108864"),
    ],
)
def test_what_is_no_json(content: bytes, message: str, folder: Path) -> None:
    (folder / CONFIG_NAME).write_bytes(content)
    with pytest.raises(ValueError, match=message) as refused:
        read_config(folder)
    assert len(str(refused.value)) < 1000


def test_figures_of_a_run_may_be_infinite(folder: Path, network: nn.Module) -> None:
    assert vitrine.load(folder, backbone=network).classes == ["ant", "bee", "cat"]


def test_damaged_heads(folder: Path, network: nn.Module) -> None:
    heads = load_file(folder / HEADS_NAME)
    first = next(name for name, value in heads.items() if value.is_floating_point())
    for value, message in (
        (heads[first] * float("nan"), f"'{first}' has .* entries that are NaN"),
        (heads[first].long(), rf"'{first}' is of torch\.int64"),
        (heads[first][None], f"'{first}' differs"),
    ):
        save_file({**heads, first: value}, folder / HEADS_NAME)
        with pytest.raises(ValueError, match=message):
            vitrine.load(folder, backbone=network)
    (folder / HEADS_NAME).write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"explainer\.safetensors cannot be read"):
        vitrine.load(folder, backbone=network)


def test_heads_that_are_not_finite_are_not_saved(explainer: SRAEExplainer, tmp_path: Path) -> None:
    next(explainer.parameters()).data[0] = torch.nan
    with pytest.raises(ValueError, match=r"SRAEExplainer are not saved: .* NaN or infinite"):
        explainer.save(tmp_path / "explainer")
    assert not any(tmp_path.iterdir())
