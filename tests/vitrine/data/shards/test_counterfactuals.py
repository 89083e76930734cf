"""Counterfactual images: written below each other, verified, and read back in their order."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.shard_edits import SHARD, edit_record, problems
from vitrine.data.shards.counterfactuals import stacked_images, unstacked_images
from vitrine.data.shards.images import to_png
from vitrine.data.shards.indexing import index_tars
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import ShardIndex
from vitrine.data.shards.writer import write_shards

Picture = Callable[..., bytes]


def write(folder: Path, counterfactuals: list[bytes], image: bytes, **options: Any) -> ShardIndex:
    sample = Sample("a", image, 0, counterfactuals=counterfactuals)
    names = {"object_names": ["pot", "petal"], **options}
    return write_shards(
        [sample], folder, dataset="d", split="test", classes=["c"], annotations=["counterfactuals"], workers=1, **names
    )


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "counterfactuals are 1, not one for each of the split's 2 objects"),
        (0, {"object_names": None}, "counterfactuals are 0, no number of images from 1 on"),
    ],
)
def test_one_for_each_named_object(
    count: int, options: dict[str, Any], message: str, tmp_path: Path, picture: Picture
) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "test", [picture(1)] * count, picture(0), **options)
    write(tmp_path / "sound", [picture(1)] * 2, picture(0))
    assert problems(tmp_path / "sound") == []
    edit_record(tmp_path / "sound", counterfactuals=True)
    assert any("counterfactuals are True" in problem for problem in problems(tmp_path / "sound"))
    edit_record(tmp_path / "sound", counterfactuals=3)
    assert any("counterfactuals are 3" in problem for problem in problems(tmp_path / "sound"))
    assert any("its counterfactuals.png is 8 x 12, its json says 8 x 18" in p for p in problems(tmp_path / "sound"))


def test_without_names_all_samples_have_as_many(tmp_path: Path, picture: Picture) -> None:
    write(tmp_path / "test", [picture(1), picture(2)], picture(0), object_names=None)
    paths = [tmp_path / "test" / SHARD]
    assert index_tars(paths, [SHARD], "test", None).annotations == ["counterfactuals"]
    samples = [Sample(key, picture(0), 0, counterfactuals=[picture(1)] * n) for key, n in (("a", 2), ("b", 3))]
    with pytest.raises(ValueError, match="counterfactuals are 3, not one for each of the split's 2 objects"):
        write_shards(
            samples, tmp_path / "b", dataset="d", split="t", classes=["c"], annotations=["counterfactuals"], workers=1
        )


def test_another_size_and_none_are_refused(picture: Picture) -> None:
    wide = to_png(Image.new("RGB", (9, 6)))
    with pytest.raises(ValueError, match="the other is 9 x 6, its image 8 x 6"):
        stacked_images([picture(0), wide], (8, 6), "the other")
    with pytest.raises(ValueError, match="There is not the other; give one for each object"):
        stacked_images([], (8, 6), "the other")


def test_stacking_and_cutting_apart_are_inverse(picture: Picture) -> None:
    stacked = Image.open(io.BytesIO(stacked_images([picture(4), picture(5)], (8, 6), "a")))
    assert [to_png(image) for image in unstacked_images(stacked, 2)] == [
        to_png(Image.open(io.BytesIO(picture(number))).convert("RGB")) for number in (4, 5)
    ]
