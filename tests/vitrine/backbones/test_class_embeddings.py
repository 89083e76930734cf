"""Files of class embeddings: written and read back, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrine.backbones.class_embeddings import read_class_embeddings, write_class_embeddings


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, embeddings = tmp_path / "pets.safetensors", torch.rand(2, 5)
    write_class_embeddings(path, embeddings, ["cat", "dog"], logit_scale=30, logit_bias=-2)
    found = read_class_embeddings(path)
    assert torch.equal(found.embeddings, embeddings)
    assert (found.classes, found.logit_scale, found.logit_bias) == (("cat", "dog"), 30.0, -2.0)


def test_a_file_with_one_matrix_is_enough(tmp_path: Path) -> None:
    save_file({"text_features": torch.eye(3)}, tmp_path / "some.safetensors")
    found = read_class_embeddings(tmp_path / "some.safetensors")
    assert torch.equal(found.embeddings, torch.eye(3))
    assert (found.classes, found.logit_scale, found.logit_bias) == ((), None, None)


@pytest.mark.parametrize(
    ("tensors", "classes", "message"),
    [
        ({"a": torch.eye(2), "b": torch.eye(2)}, "", r"holds 2 matrices.*class_embeddings"),
        ({"a": torch.ones(2)}, "", r"holds 0 matrices"),
        ({"a": torch.eye(2)}, "ant", r"2 classes.*1 names"),
        ({"a": torch.eye(2)}, "ant\nant", r"two classes named 'ant'"),
        ({"a": torch.tensor([[1.0, 0], [0, 0]])}, "", r"first for class 1"),
        ({"a": torch.tensor([[torch.nan, 0], [0, 0]])}, "", r"first for class 0"),
        ({"a": torch.eye(2, dtype=torch.int64)}, "", r"floating-point"),
        ({"a": torch.eye(2), "logit_scale": torch.ones(3)}, "", r"logit_scale.*one finite number"),
    ],
)
def test_files_that_make_no_sense(tensors: dict[str, Tensor], classes: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    save_file(tensors, path, metadata={"classes": classes})
    with pytest.raises(ValueError, match=message):
        read_class_embeddings(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        read_class_embeddings(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("name", "classes"), [("a.pth", ["x", "y"]), ("a.safetensors", []), ("a.safetensors", ["x"])])
def test_what_is_not_written(name: str, classes: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"safetensors|names"):
        write_class_embeddings(tmp_path / name, torch.eye(2), classes)
    assert not [*tmp_path.iterdir()]
