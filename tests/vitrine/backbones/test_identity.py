"""Identity of networks: another one whenever outputs could differ with the same weights."""

import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.fx
from torch import nn
from torch.nn import functional as F

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones import FrozenBackbone
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.identity import arguments_text, code_digest, structure_digest

NETWORK = """
from torch import nn
from {prefix}layers import Half

class Net(nn.Module):
    def __init__(self, negative=False):
        super().__init__()
        self.layer, self.sign = nn.Linear(3, 2), -1 if negative else 1
        self.half = Half()

    def forward(self, images):
        return self.half(self.layer(images.mean((2, 3)))) * self.sign
"""
LAYERS = "import {prefix}constants\nfrom torch import nn\nclass Half(nn.Identity):\n    pass\n"


@pytest.fixture(params=["package", "folder"])
def own_code(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of an own network: a package, or modules in one folder."""
    monkeypatch.syspath_prepend(str(tmp_path))
    is_package = request.param == "package"
    folder = tmp_path / "identity_net" if is_package else tmp_path
    folder.mkdir(exist_ok=True)
    prefixes = {"network": "." if is_package else "", "layers": "identity_net." if is_package else ""}
    (folder / "__init__.py").touch()
    (folder / "network.py").write_text(NETWORK.format(prefix=prefixes["network"]))
    (folder / "layers.py").write_text(LAYERS.format(prefix=prefixes["layers"]))
    (folder / "constants.py").write_text("ONE = 1\n")
    (folder / "unused.py").write_text("")
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported(folder: Path) -> ModuleType:
    return importlib.import_module("identity_net.network" if folder.name == "identity_net" else "network")


def test_the_code_of_an_own_network_counts_with_what_it_imports(own_code: Path) -> None:
    net = imported(own_code).Net
    digests = [code_digest({net})]
    for name in ("network.py", "layers.py", "constants.py"):
        path = own_code / name
        path.write_text(path.read_text() + "# edited\n")
        digests.append(code_digest({net}))
    assert len(set(digests)) == 4
    (own_code / "unused.py").write_text("# edited\n")
    assert code_digest({net}) == digests[-1]


def test_arguments_count_where_weights_are_the_same(own_code: Path) -> None:
    name = f"{imported(own_code).__name__}:Net"
    torch.manual_seed(0)
    first = FrozenBackbone(name)
    torch.manual_seed(0)
    other = FrozenBackbone(name, arguments={"negative": True})
    assert first.digest == other.digest
    assert TappedFeatures(first, "layer").key != TappedFeatures(other, "layer").key


def keys_of(*models: nn.Module) -> list[str]:
    return [TappedFeatures(FrozenBackbone(model), "0").key for model in models]


def test_layers_of_the_same_weights_that_compute_otherwise() -> None:
    def network(activation: nn.Module, stride: int = 1) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=stride), activation)

    gelu = FrozenBackbone(network(nn.GELU("tanh")))
    assert gelu.digest == FrozenBackbone(network(nn.ReLU())).digest
    keys = keys_of(
        network(nn.ReLU()), network(nn.GELU()), gelu.model, network(nn.ReLU(), 2), network(nn.LeakyReLU(0.3))
    )
    assert len(set(keys)) == 5
    assert keys_of(network(nn.ReLU())) == keys[:1]


class Functional(nn.Identity):
    def __init__(self, function: object) -> None:
        super().__init__()
        self._function, self.unnamed = function, object()


def test_functions_are_told_apart_by_their_names_and_nothing_by_its_address() -> None:
    digests = [
        structure_digest(Functional(function)) for function in (F.gelu, F.gelu, F.relu, nn.LayerNorm, torch.tanh)
    ]
    assert len(set(digests)) == 4
    assert digests[0] == digests[1]


def test_plain_attributes_of_any_name_count() -> None:
    functions = ({"negative": True}, {"negative": False}, (1, 2), (1, 3), None)
    assert len({structure_digest(Functional(function)) for function in functions}) == 5


class Twice(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scale = lambda images: images * factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale(images)


def test_traced_graphs_count() -> None:
    digests = {structure_digest(torch.fx.symbolic_trace(Twice(factor))) for factor in (2.0, 3.0, 2.0)}
    assert len(digests) == 2


def test_mode_and_device_are_no_part_of_the_structure() -> None:
    model = OwnNetwork()
    assert structure_digest(model.train()) == structure_digest(model.eval())


def test_precision_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = FrozenBackbone(OwnNetwork())
    keys = [TappedFeatures(backbone, "conv").key]
    with torch.autocast("cpu", torch.bfloat16):
        keys.append(TappedFeatures(backbone, "conv").key)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    keys.append(TappedFeatures(backbone, "conv").key)
    keys.append(TappedFeatures(backbone.bfloat16(), "conv").key)
    assert len(set(keys)) == 4


@pytest.mark.parametrize("library", ["torch", "torchvision"])
def test_versions_of_libraries_count(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = FrozenBackbone("squeezenet1_1")
    before = backbone.identity
    actual = importlib.import_module("importlib.metadata").version

    def version(name: str) -> str:
        return "99.1.2" if name == library else actual(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert f"{library} 99.1" in backbone.identity["libraries"]
    assert {name for name, text in backbone.identity.items() if text != before[name]} == {"libraries"}


def test_a_class_without_a_file_counts_by_its_code() -> None:
    def made(source: str) -> type:
        names: dict[str, object] = {"__name__": "no_such_module"}
        exec(source, names)  # noqa: S102
        kind = names["Net"]
        assert isinstance(kind, type)
        return kind

    sources = ("class Net:\n    def f(self): return 1", "class Net:\n    def f(self): return 2")
    assert code_digest({made(sources[0])}) == code_digest({made(sources[0])}) != code_digest({made(sources[1])})


def test_arguments_are_one_text_in_any_order() -> None:
    assert arguments_text({"b": (1, 2), "a": None}) == arguments_text({"a": None, "b": [1, 2]})
    assert arguments_text({"norm": nn.LayerNorm}) == '{"norm": "torch.nn.modules.normalization.LayerNorm"}'
    assert arguments_text({"norm": functools.partial(nn.LayerNorm, eps=1e-6)}) != arguments_text({"norm": nn.LayerNorm})
