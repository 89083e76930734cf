"""Example images: which are common, and what is damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.tested_runs import random_rows, write_examples, write_run
from vitrine.visualization.comparison.comparison import Comparison
from vitrine.visualization.comparison.examples import SIDE, common_examples, examples_picture, read_examples
from vitrine.visualization.comparison.tested_runs import read_runs


def test_images_and_maps_are_read_back(tmp_path: Path) -> None:
    images = torch.randint(256, (3, 3, 6, 8), dtype=torch.uint8)
    maps = torch.rand(3, 6, 8).half()
    sample = {"keys": ["a", "b", "a"], "targets": ["x", "y", "z"]}
    save_file({"images": images, "maps": maps}, tmp_path / "e", metadata={"sample": json.dumps(sample)})
    found = read_examples(tmp_path / "e")
    assert list(found) == [("a", 0), ("b", 0), ("a", 1)]
    assert [example.target for example in found.values()] == ["x", "y", "z"]
    assert torch.equal(found["a", 1].image, images[2] / 255)
    assert torch.equal(found["a", 1].map, maps[2].float())
    assert read_examples(tmp_path / "none") == {}


def test_only_images_of_all_methods_are_shown(tmp_path: Path) -> None:
    rows = random_rows(4, 0)
    folders = [write_run(tmp_path / name, name, rows) for name in "abc"]
    keys = [key for key, _, _ in rows]
    write_examples(folders[0] / "examples.safetensors", keys, 0)
    write_examples(folders[1] / "examples.safetensors", [*keys[2:][::-1], "other"], 1)
    found = common_examples(read_runs(folders))
    assert {method: [key for key, _ in examples] for method, examples in found.items()} == {
        "a": keys[2:],
        "b": keys[2:],
    }
    write_examples(folders[2] / "examples.safetensors", ["other"], 1)
    assert common_examples(read_runs(folders)) == {}
    assert examples_picture({}) is None


def test_the_picture_has_a_row_of_images_and_one_for_each_method(comparison: Comparison) -> None:
    shown = examples_picture(common_examples(comparison.runs))
    assert shown is not None
    assert shown.width == 12 * (SIDE + 10) + 10
    assert 4 * SIDE < shown.height < 5 * SIDE


@pytest.mark.parametrize(
    ("tensors", "sample"),
    [
        ({"images": (2, 3, 4, 4), "maps": (2, 4, 5)}, {"keys": ["a", "b"], "targets": ["x", "y"]}),
        ({"images": (2, 3, 4, 4), "maps": (2, 4, 4)}, {"keys": ["a"], "targets": ["x", "y"]}),
        ({"images": (2, 1, 4, 4), "maps": (2, 4, 4)}, {"keys": ["a", "b"], "targets": ["x", "y"]}),
        ({"images": (2, 3, 4, 4)}, {"keys": ["a", "b"], "targets": ["x", "y"]}),
        ({"images": (2, 3, 4, 4), "maps": (2, 4, 4)}, {"keys": ["a", "b"]}),
        ({"images": (2, 3, 4, 4), "maps": (2, 4, 4)}, None),
    ],
)
def test_damaged_examples_name_their_file(
    tmp_path: Path, tensors: "dict[str, tuple[int, ...]]", sample: "dict[str, list[str]] | None"
) -> None:
    metadata = None if sample is None else {"sample": json.dumps(sample)}
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "e", metadata=metadata)
    with pytest.raises(ValueError, match=f"{tmp_path / 'e'} is damaged .* run train.py test again"):
        read_examples(tmp_path / "e")


def test_a_file_that_is_no_safetensors_names_itself(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"12")
    with pytest.raises(ValueError, match="e is damaged"):
        read_examples(tmp_path / "e")
