"""Damaged and edited files: every value of every JSON, cut and flipped bytes, in explainers, weights and shards."""

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitrine
from tests.fuzz.bad_calls import fault_of
from tests.helpers.shard_fakes import at, module_of, write_split
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.weight_files import load_weights
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import SRAEExplainer, SRAEOptions

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

VALUES: list[Any] = [None, True, -1, 1.5, math.nan, "", "x", "../../x", [], {}, [None], {"a": 1}, 10**400]
"""What each value of a JSON document is replaced by in turn."""


def a_network() -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported explainer of a network without a name."""
    folder = tmp_path_factory.mktemp("exported") / "explainer"
    options = SRAEOptions(layer="3", num_features=2, hidden=(4,), image_size=16)
    explainer = SRAEExplainer(FrozenBackbone(a_network()), options, classes=["a", "b", "c", "d"])
    explainer.preprocessing = Preprocessing(16)
    explainer.save(folder)
    return folder


def edits_of(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Copies of a JSON document, each with one value replaced or one key left out, by what was done."""
    value = document
    for key in path:
        value = value[key]
    for new in VALUES if path else []:
        yield f"{'/'.join(map(str, path))} = {str(new)[:12]!r}", _edited(document, path, new)
    if isinstance(value, dict):
        for key in value:
            yield f"{'/'.join(map(str, (*path, key)))} left out", _without(document, (*path, key))
            yield from edits_of(document, (*path, key))
    elif isinstance(value, list) and value:
        yield from edits_of(document, (*path, 0))


def _edited(document: Any, path: tuple[Any, ...], new: Any) -> Any:
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return document


def _without(document: Any, path: tuple[Any, ...]) -> Any:
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return document


def damaged(data: bytes) -> dict[str, bytes]:
    """A file cut off, emptied, with bytes flipped, and of another kind."""
    flipped = {f"byte {at} flipped": data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :] for at in (0, 7, 9, 30)}
    cut = {f"cut at {at}": data[:at] for at in (0, 1, 8, len(data) // 2, len(data) - 1)}
    return {**flipped, **cut, "text": b"hello\n", "zeros": bytes(len(data)), "doubled": data + data}


def faults_in(calls: Mapping[str, Callable[[], Any]], same: Callable[[Any], bool]) -> dict[str, str]:
    """The faults of calls; one that is accepted is none where it gives the same as the file that nobody touched."""
    found: dict[str, str] = {}
    for name, call in calls.items():
        given: list[Any] = []
        fault = fault_of(partial(_keep, call, given))
        if fault is not None and not (fault.startswith("accepted") and same(given[0])):
            found[name] = fault
    return found


def _keep(call: Callable[[], Any], given: list[Any]) -> Any:
    given.append(call())
    return given[0]


def test_an_explainer_whose_json_was_edited_is_refused_or_the_same(exported: Path, tmp_path: Path) -> None:
    expected = vitrine.load(exported, backbone=a_network()).explain(IMAGES, 1)
    document = json.loads((exported / "explainer.json").read_text())
    folder = tmp_path / "explainer"

    def load(edited: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(exported, folder)
        (folder / "explainer.json").write_text(json.dumps(edited))
        return vitrine.load(folder, backbone=a_network()).explain(IMAGES, 1)

    edits = dict(edits_of(document))
    calls = {name: partial(load, edited) for name, edited in edits.items()}
    found = faults_in(calls, lambda given: torch.equal(given.heatmaps, expected.heatmaps))
    assert found == {}
    assert len(calls) > 150


def test_an_explainer_whose_files_are_damaged_is_refused(exported: Path, tmp_path: Path) -> None:
    calls: dict[str, Callable[[], Any]] = {}
    for name in ("explainer.json", "explainer.safetensors"):
        for kind, data in damaged((exported / name).read_bytes()).items():
            folder = tmp_path / f"{name} {kind}"
            shutil.copytree(exported, folder)
            (folder / name).write_bytes(data)
            calls[f"{name}, {kind}"] = partial(vitrine.load, folder, backbone=a_network())
    expected = vitrine.load(exported, backbone=a_network()).state_dict()
    found = faults_in(
        calls,
        lambda given: all(torch.equal(v, expected[k]) for k, v in given.state_dict().items() if torch.is_tensor(v)),
    )
    assert found == {}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt", ".bin"])
def test_weights_that_are_damaged_are_refused(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights{suffix}"
    state = a_network().state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    calls: dict[str, Callable[[], Any]] = {}
    for kind, data in damaged(path.read_bytes()).items():
        broken = tmp_path / f"{kind}{suffix}"
        broken.write_bytes(data)
        calls[kind] = partial(_loaded, broken)
    nothing = {"missing": lambda: _loaded(tmp_path / f"no{suffix}"), "folder": lambda: _loaded(tmp_path)}
    found = faults_in(calls | nothing, lambda given: all(torch.equal(given[k], v) for k, v in state.items()))
    assert found == {}


def _loaded(path: Path) -> dict[str, Any]:
    network = a_network()
    load_weights(network, path)
    return network.state_dict()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with one split of six samples."""
    folder = tmp_path_factory.mktemp("shards")
    write_split(folder, "test", count=6)
    return folder


def batches_of(folder: Path) -> list[Any]:
    data = at(module_of(folder), setup="test")
    data.check_shards("test")
    return [(batch["image"], batch["label"], batch["key"]) for batch in data.test_dataloader()]


def same_batches(given: list[Any], expected: list[Any]) -> bool:
    pairs = list(zip(given, expected, strict=True)) if len(given) == len(expected) else []
    return bool(pairs) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) and list(a[2]) == list(b[2]) for a, b in pairs
    )


def test_shards_whose_index_was_edited_are_refused_or_the_same(shards: Path, tmp_path: Path) -> None:
    expected = batches_of(shards)
    document = json.loads((shards / "test" / "index.json").read_text())
    folder = tmp_path / "shards"

    def load(edited: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(shards, folder)
        (folder / "test" / "index.json").write_text(json.dumps(edited))
        return batches_of(folder)

    calls = {name: partial(load, edited) for name, edited in edits_of(document)}
    assert faults_in(calls, lambda given: same_batches(given, expected)) == {}
    assert len(calls) > 100


def test_damaged_shards_are_refused(shards: Path, tmp_path: Path) -> None:
    expected, calls = batches_of(shards), dict[str, Callable[[], Any]]()
    for path in sorted((shards / "test").iterdir()):
        for kind, data in damaged(path.read_bytes()).items():
            folder = tmp_path / f"{path.name} {kind}"
            shutil.copytree(shards, folder)
            (folder / "test" / path.name).write_bytes(data)
            calls[f"{path.name}, {kind}"] = partial(batches_of, folder)
    assert faults_in(calls, lambda given: same_batches(given, expected)) == {}
