"""Local weight files: what is read, and what is told of one that does not fit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.frozen import FrozenBackbone


@pytest.fixture
def own_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return OwnNetwork().state_dict()


SAVERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "w.pth": torch.save,
    "w.pt": torch.save,
    "w.safetensors": save_file,
}


@pytest.mark.parametrize("name", SAVERS)
def test_local_files(name: str, own_state: dict[str, Tensor], tmp_path: Path) -> None:
    SAVERS[name](own_state, tmp_path / name)
    backbone = FrozenBackbone(OwnNetwork(), weights=tmp_path / name)
    assert backbone.digest == weight_digest(own_state)


def wrong_files(state: dict[str, Tensor], folder: Path) -> Iterator[tuple[Path, str]]:
    first, *_ = state
    yield folder / "absent.pth", "absent.pth does not exist"
    (folder / "broken.safetensors").write_bytes(b"nothing of the kind")
    yield folder / "broken.safetensors", "broken.safetensors cannot be read"
    (folder / "broken.pth").write_bytes(b"nothing of the kind")
    yield folder / "broken.pth", "broken.pth"
    torch.save(OwnNetwork(), folder / "module.pth")
    yield folder / "module.pth", "module.pth holds more than tensors"
    torch.save([1, 2], folder / "list.pth")
    yield folder / "list.pth", "list.pth does not hold a state dict"
    torch.save({k: v for k, v in state.items() if k != first}, folder / "less.pth")
    yield folder / "less.pth", f"lacks '{first}'"
    torch.save({**state, "extra": torch.ones(1)}, folder / "more.pth")
    yield folder / "more.pth", "has 'extra'"
    torch.save({**state, "classifier.weight": torch.ones(7, 4)}, folder / "shape.pth")
    yield folder / "shape.pth", r"'classifier.weight' has shape \(7, 4\) there and \(3, 4\) here"


def test_wrong_files_are_named(own_state: dict[str, Tensor], tmp_path: Path) -> None:
    for path, message in wrong_files(own_state, tmp_path):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            FrozenBackbone(OwnNetwork(), weights=path)
