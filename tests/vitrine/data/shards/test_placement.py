"""Annotation on images that do not stand upright as stored: drawn on the stored pixels, or on the upright ones."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from tests.helpers import oriented_pictures as pictures
from vitrine.data.orientation import UPRIGHT, Orientation
from vitrine.data.shards.images import EncodedImage
from vitrine.data.shards.placement import annotation_orientation, place_map
from vitrine.data.shards.rules import RecordRules
from vitrine.data.shards.sample import Sample, encode_sample

RULES = RecordRules(1, multi_label=False, annotations=frozenset({"boxes", "parts", "mask", "objects"}), num_parts=1)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("I")).astype(np.int64)


# The size tells that annotation was drawn on the upright image where the sides are swapped.
DRAWN = [("stored", tag) for tag in pictures.TAGS] + [("upright", tag) for tag in pictures.TAGS if tag >= 5]


@pytest.mark.parametrize(("drawn", "tag"), DRAWN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_parts_masks_and_objects_stay_on_their_pixels(kind: str, tag: int, drawn: str) -> None:
    stored = pictures.stored_pixels()
    upright = pictures.upright_of(stored, tag)
    on, point = (stored, pictures.POINT) if drawn == "stored" else (upright, pictures.upright_point(tag))
    sample = Sample(
        "a",
        pictures.encoded(stored, kind, tag),
        0,
        boxes=[pictures.extent(on)],
        parts=[(*point, 1)],
        mask=pictures.encoded(on),
        objects=pictures.encoded(on.astype(np.uint16) * 257),
        annotated_size=(on.shape[1], on.shape[0]),
    )
    remarks: Counter[str] = Counter()
    members = encode_sample(sample, RULES, remarks)
    image = next(members[name] for name in ("a.png", "a.jpg") if name in members)
    record = json.loads(members["a.json"])
    assert np.array_equal(pixels(image) > 127, upright > 0)
    assert np.array_equal(pixels(members["a.mask.png"]), upright)
    assert np.array_equal(pixels(members["a.objects.png"]), upright.astype(int) * 257)
    assert (record["boxes"], record["parts"]) == ([pictures.extent(upright)], [[*pictures.upright_point(tag), 1]])
    assert (record["height"], record["width"]) == upright.shape
    assert Image.open(io.BytesIO(image)).getexif().get(274, 1) == 1
    assert remarks["images turned upright by their EXIF orientation"] == (tag != 1)
    if tag == 1 and kind in {"JPEG", "PNG"}:
        assert image == sample.image


IMAGE = EncodedImage(b"", "png", 24, 40, Orientation(6))


def test_annotation_without_a_size_is_of_the_stored_pixels() -> None:
    assert annotation_orientation(None, IMAGE, "a.jpg") == Orientation(6)
    assert annotation_orientation((40, 24), IMAGE, "a.jpg") == Orientation(6)
    assert annotation_orientation((24, 40), IMAGE, "a.jpg") == UPRIGHT


def test_sizes_that_fit_neither_are_named() -> None:
    with pytest.raises(ValueError, match=r"a\.jpg is 24 x 40 \(40 x 24 as stored\), but its annotation is of 80 x 48"):
        annotation_orientation((80, 48), IMAGE, "a.jpg")
    mask = EncodedImage(b"", "png", 80, 48)
    with pytest.raises(ValueError, match=r"m\.png is 80 x 48, its image 24 x 40 \(40 x 24 as stored\)"):
        place_map(mask, IMAGE, "m.png")


def test_a_mask_that_was_turned_by_its_own_orientation_stays() -> None:
    image = EncodedImage(b"", "png", 40, 24, Orientation(3))
    assert place_map(EncodedImage(b"mask", "png", 40, 24, Orientation(3)), image, "m.png") == b"mask"
