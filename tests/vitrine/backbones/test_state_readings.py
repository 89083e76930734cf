"""Weight files as people have them: under prefixes, in containers, beside other things."""

import argparse
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions, built
from vitrine.backbones.weight_files import load_weights

State = dict[str, Any]


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return OwnNetwork().state_dict()


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def other(state: State) -> State:
    """Other weights of the same network."""
    return {name: value + 1 for name, value in state.items()}


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
PREFIXES = [
    "module.", "model.", "net.", "backbone.", "network.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.",
    "model.module.", "encoder.", "student.", "a.b.c.", "module.module.",
]  # fmt: skip
CONTAINERS = [
    "state_dict", "model", "model_ema", "state_dict_ema", "net", "network", "weights", "model_state_dict", "ema",
    "params", "teacher",
]  # fmt: skip
FILES: dict[str, Callable[[State], State]] = {
    **{f"prefix {one}": lambda s, one=one: under(one, s) for one in PREFIXES},  # type: ignore[misc]
    **{
        f"entry {one}": lambda s, one=one: {"epoch": 3, one: s, "optimizer": OPTIMIZER, "best": 0.5}  # type: ignore[misc]
        for one in CONTAINERS
    },
    "entry within an entry": lambda s: {"state": {"model": under("module.", s)}, "epoch": 1},
    "scalars beside": lambda s: {**s, "epoch": 3, "name": "net", "lr": 0.1, "done": True, "history": [1, 2]},
    "lightning": lambda s: {
        "state_dict": {**under("model.", s), "criterion.weight": torch.ones(3)},
        "epoch": 1,
        "pytorch-lightning_version": "2.0.0",
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [OPTIMIZER],
        "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.5)}},
    },
    "averaged model": lambda s: {"n_averaged": torch.tensor(7), **under("module.", s)},
    "wrapped within": lambda s: {name.replace("conv.", "conv.module."): value for name, value in s.items()},
    "compiled within": lambda s: {name.replace("norm.", "norm._orig_mod."): value for name, value in s.items()},
    "equal twice": lambda s: {"model": s, "model_ema": dict(s)},
    "no counters": lambda s: under("model.", {k: v for k, v in s.items() if not k.endswith("tracked")}),
    "parameters": lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("kind", FILES)
def test_one_reading_fits(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FILES[kind](state), path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        backbone = FrozenBackbone(OwnNetwork(), path)
    if kind == "no counters":
        state = {k: v * 0 if k.endswith("tracked") else v for k, v in state.items()}
    assert backbone.digest == weight_digest(state)
    assert bool(told) == (kind not in {"scalars beside", "parameters"})
    assert all(str(path) in str(one.message) for one in told)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w.pth.tar", "w.PTH", "w.safetensors"])
def test_names_of_files(name: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / name)
    module = "tests.helpers.own_network:OwnNetwork"
    assert FrozenBackbone(module, tmp_path / name).digest == weight_digest(state)


def test_the_reading_is_told(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": {**under("model.", state), "criterion.weight": torch.ones(3)}}, tmp_path / "w.ckpt")
    with pytest.warns(
        UserWarning, match=r"w\.ckpt is read: entry 'state_dict', tensors under 'model\.'; 1 other tensors"
    ):
        load_weights(OwnNetwork(), tmp_path / "w.ckpt")
    with pytest.warns(UserWarning, match=r"w\.ckpt is read") as told:
        FrozenBackbone("tests.helpers.own_network:OwnNetwork", tmp_path / "w.ckpt")
    assert [one.filename for one in told] == [__file__]  # not the package, whose warnings tests take for errors
    monkeypatch.setenv("RANK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(OwnNetwork(), tmp_path / "w.ckpt")


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "two entries": (
        lambda s: {"model": s, "model_ema": other(s)},
        "holds 2 state dicts that fit the network: entry 'model' and entry 'model_ema'",
    ),
    "two prefixes": (lambda s: under("student.", s) | under("teacher.", other(s)), "'student.'.* and .*'teacher.'"),
    "one within the other": (lambda s: s | under("ema.", other(s)), "as they are and tensors under 'ema.'"),
    "too much": (lambda s: under("model.", s | {"extra": torch.ones(1)}), "has 'extra'.*'model.'.*nearest names"),
    "too little": (
        lambda s: (
            under("model.", {k: v for k, v in s.items() if k != "norm.weight"})
            | {"model.norm.weigth": s["norm.weight"]}
        ),
        "lacks 'norm.weight'.*nearest names are 'norm.weigth'",
    ),
    "another network": (lambda _: {"layer1.conv.w": torch.ones(1)}, "lacks 'conv.weight'"),
    "another shape": (
        lambda s: under("net.", s | {"conv.weight": torch.ones(4, 3, 5, 5)}),
        r"\(4, 3, 5, 5\) there and",
    ),
    "no tensors": (lambda _: {"epoch": 3, "state_dict": {"epoch": 3}}, "does not hold a state dict"),
    "NaN": (lambda s: s | {"conv.bias": s["conv.bias"] * float("nan")}, "'conv.bias' has 4 of 4 entries that are NaN"),
    "infinite statistics": (
        lambda s: s | {"norm.running_var": s["norm.running_var"] / 0},
        "'norm.running_var' has 4 of 4",
    ),
    "whole numbers": (lambda s: s | {"conv.weight": s["conv.weight"].long()}, r"'conv.weight' is of torch\.int64"),
    "complex": (lambda s: s | {"conv.weight": s["conv.weight"] + 0j}, r"'conv.weight' is of torch\.complex64"),
    "namespace": (lambda s: {"model": s, "args": argparse.Namespace(lr=1)}, "argparse.Namespace, .*model.state_dict"),
    "numpy": (lambda s: {"model": s, "best": np.float64(3)}, r"numpy\S*multiarray\S*, .*model.state_dict"),
    "module": (lambda _: nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear, "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    torch.save(make(state), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message) as refused:
        FrozenBackbone(OwnNetwork(), tmp_path / "w.pth")
    assert re.match(r"Weight file \S+w\.pth.*[.?]$", str(refused.value))
    assert "\n" not in str(refused.value)


def test_scripted_archives_are_code(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "scripted.pt")
    with pytest.raises(ValueError, match="TorchScript archive"):
        load_weights(nn.Linear(2, 2), tmp_path / "scripted.pt")


class FixedHead(nn.Sequential):
    """A network whose constructor takes no number of classes."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


@pytest.mark.parametrize("name", ["squeezenet1_1", "tests.helpers.own_network:OwnNetwork", f"{__name__}:FixedHead"])
def test_the_number_of_logits_is_that_of_the_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, count = built(BackboneOptions(name, num_classes=6))
    assert count == 6
    torch.save({"state_dict": under("module.", model.state_dict())}, tmp_path / "six.pth")
    with pytest.warns(UserWarning, match="six.pth"):
        backbone = FrozenBackbone(name, tmp_path / "six.pth")
    assert backbone.options.num_classes == 6
    assert backbone(torch.rand(1, 3, 64, 64)).logits.shape == (1, 6)
    assert backbone.digest == weight_digest(model.state_dict())
    with pytest.raises(ValueError, match=r"\(6, .*\(7, .*is num_classes right"):
        FrozenBackbone(name, tmp_path / "six.pth", num_classes=7)


def test_names_of_published_densenets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.DenseNet(8, (2, 2), 8, num_classes=3)
    published = {
        re.sub(r"((?:norm|conv))([12]\.)", r"\1.\2", name): value for name, value in network.state_dict().items()
    }
    assert any(".norm.1." in name for name in published)
    torch.save(published, tmp_path / "densenet.pth")
    with pytest.warns(UserWarning, match="names without"):
        load_weights(torchvision.models.DenseNet(8, (2, 2), 8, num_classes=3), tmp_path / "densenet.pth")


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [({"img_size": 48}, "image size"), ({"in_chans": 1}, "input channels")],
)
def test_what_is_likely_to_be_wrong_where_shapes_differ(changed: dict[str, Any], doubt: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    torch.save(timm.create_model("vit_tiny_patch16_224", **sizes).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=rf"shape .* there and .* here; .*{doubt}"):
        FrozenBackbone("timm:vit_tiny_patch16_224", tmp_path / "vit.pth", arguments=sizes | changed)
