"""The eight orientations of EXIF: pixels, sizes, boxes and points, against numpy and Pillow."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from tests.helpers import oriented_pictures as pictures
from vitrine.core.options import OptionError
from vitrine.data.orientation import Orientation, orientation_of, stored_size, upright

STORED = (pictures.WIDTH, pictures.HEIGHT)


@pytest.mark.parametrize("tag", pictures.TAGS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pixels_stand_upright_whatever_their_format(kind: str, tag: int) -> None:
    data = pictures.encoded(pictures.stored_pixels(), kind, tag)
    with Image.open(io.BytesIO(data)) as picture:
        assert (orientation_of(picture).tag, stored_size(picture)) == (tag, STORED)
        turned = upright(picture)
    reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert turned.size == reference.size == Orientation(tag).turned_size(STORED)
    on = np.asarray(turned.convert("L")) > 127
    assert np.array_equal(on, pictures.upright_of(pictures.stored_pixels() > 0, tag))
    assert upright(turned).tobytes() == turned.tobytes()  # not turned twice


@pytest.mark.parametrize("tag", pictures.TAGS)
def test_boxes_and_points_follow_the_pixels(tag: int) -> None:
    orientation = Orientation(tag)
    boxes = orientation.boxes([pictures.BOX], STORED)
    assert boxes == [pictures.extent(pictures.upright_of(pictures.stored_pixels(), tag))]
    assert [list(point) for point in orientation.points([pictures.POINT], STORED)] == [pictures.upright_point(tag)]
    width, height = orientation.turned_size(STORED)
    corners = orientation.points([(0, 0), (39.5, 23.5)], STORED)  # in the first pixel, and in the last
    assert all(0 <= x < width and 0 <= y < height for x, y in corners)


@pytest.mark.parametrize("tag", [0, 9, "6", (6,)])
def test_a_tag_that_is_none_counts_as_upright(tag: object) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, format="PNG", exif=exif.tobytes() if isinstance(tag, int) else b"Exif\0\0bro")
    assert not orientation_of(Image.open(io.BytesIO(buffer.getvalue())))


def test_there_are_eight_orientations() -> None:
    for tag in (0, 9):
        with pytest.raises(OptionError, match="tag"):
            Orientation(tag)
