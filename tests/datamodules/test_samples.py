"""Samples of shards: decoded, collated, and what is told of a broken one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.samples import SampleError, collate, decode, record_of
from datamodules.split import Split
from tests.helpers import oriented_pictures as pictures
from tests.helpers.shard_fakes import write_split


def test_a_decoded_sample(split: Split) -> None:
    raw = next(iter(split.raw_samples(0)))
    sample = split.decode(raw)
    assert sample["key"] == raw["__key__"]
    assert sample["image"].shape == (3, 10, 12)
    assert sample["image"].dtype == torch.uint8
    assert int(sample["label"]) == record_of(raw)["label"]


def test_labels_of_several_classes_are_multi_hot(tmp_path: Path) -> None:
    split = Split.read(write_split(tmp_path / "set", "test", 6, multi_label=True) / "test")
    for raw in split.raw_samples(0):
        classes = record_of(raw)["label"]
        assert split.decode(raw)["label"].tolist() == [float(index in classes) for index in range(3)]


def test_a_broken_image_and_one_that_is_missing_are_named(split: Split) -> None:
    raw = next(iter(split.raw_samples(0)))
    extension = next(name for name in raw if name in {"png", "jpg"})
    with pytest.raises(SampleError, match=f"The image of {raw['__key__']} in .* is broken"):
        split.decode({**raw, extension: b"no image"})
    with pytest.raises(SampleError, match=f"{raw['__key__']} in .* has no image"):
        split.decode({name: value for name, value in raw.items() if name != extension})


def test_an_image_of_too_many_pixels_is_named(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = next(iter(split.raw_samples(0)))
    monkeypatch.setenv("VITRINE_MAX_PIXELS", "119")
    with pytest.raises(SampleError, match=rf"{raw['__key__']} in .* is 12 x 10 pixels, more than 119 "):
        split.decode(raw)


def test_collating_stacks_tensors_and_keeps_lists() -> None:
    sample = {"key": "a", "image": torch.ones(3, 2, 2), "label": torch.tensor(1), "boxes": torch.zeros(2, 4), "row": 5}
    batch: Any = collate([sample, {**sample, "key": "b", "boxes": torch.zeros(0, 4), "row": 6}])
    assert batch["key"] == ["a", "b"]
    assert batch["image"].shape == (2, 3, 2, 2)
    assert [len(boxes) for boxes in batch["boxes"]] == [2, 0]
    assert batch["row"].tolist() == [5, 6]


ANNOTATED = {"boxes", "parts", "mask", "objects", "counterfactuals"}


def lying(kind: str, tag: int) -> Any:
    """A sample of a shard whose image does not stand upright, as earlier releases wrote them."""
    stored = pictures.stored_pixels()
    record: dict[str, Any] = {"label": 0, "width": pictures.WIDTH, "height": pictures.HEIGHT, "boxes": [pictures.BOX]}
    record["parts"] = [[*pictures.POINT, 1]]
    masks = {"mask.png": pictures.encoded(stored), "objects.png": pictures.encoded(stored.astype("uint16") * 257)}
    masks["counterfactuals.png"] = pictures.encoded(np.concatenate([stored, 255 - stored]))
    record["counterfactuals"] = 2
    image = {"jpg" if kind == "JPEG" else "png": pictures.encoded(stored, kind, tag)}
    return {"__key__": "a", "json": json.dumps(record).encode(), **image, **masks}


@pytest.mark.parametrize("tag", pictures.TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_that_lie_in_shards_stand_with_their_annotation(split: Split, kind: str, tag: int) -> None:
    index = replace(split.index, annotations=sorted(ANNOTATED), object_names=["a", "b"])
    sample = decode(lying(kind, tag), index, "set")
    upright = pictures.upright_of(pictures.stored_pixels(), tag).copy()
    assert torch.equal(sample["image"][0] > 127, torch.from_numpy(upright) > 0)
    assert torch.equal(sample["mask"][0], torch.from_numpy(upright) // 255)
    assert torch.equal(sample["objects"][0], torch.from_numpy(upright).long() * 257)
    without = np.stack([upright, 255 - upright])
    assert torch.equal(sample["counterfactuals"], torch.from_numpy(without)[:, None].expand(-1, 3, -1, -1))
    assert sample["boxes"].tolist() == [pictures.extent(upright)]
    assert sample["points"].tolist() == [pictures.upright_point(tag)]
    assert sample["boxes"].canvas_size == sample["points"].canvas_size == upright.shape


def test_16_bit_images_are_scaled_and_other_ranges_named(split: Split) -> None:
    values = np.array([[0, 257, 65535]], np.uint16)
    raw = {"__key__": "a", "json": b'{"label": 0}', "png": pictures.encoded(values)}
    assert decode(raw, split.index, "set")["image"][1].tolist() == [[0, 1, 255]]
    raw["png"] = pictures.encoded(values.astype(np.float32), "TIFF")
    with pytest.raises(SampleError, match="The image of a in set has values from 0 to 65535 as floats"):
        decode(raw, split.index, "set")
