"""EXIF orientation of pictures: how pixels, boxes and points are turned so that the picture stands upright."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ExifTags, Image, TiffImagePlugin

from vitrine.core.options import OptionError

Size = tuple[int, int]
"""Width and height in pixels."""

_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MIRRORS_X, _MIRRORS_Y = frozenset({2, 3, 7, 8}), frozenset({3, 4, 6, 7})
_EXIF_ENTRIES = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Entries of ``Image.info`` that can hold an orientation."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight values of the EXIF tag: how stored pixels are turned to stand upright.

    Args:
        tag: 1 for a picture that stands upright as stored.

    Raises:
        OptionError: for a tag other than 1 to 8.

    Example:
        >>> lying = Orientation(6)
        >>> lying.turned_size((40, 30)), lying.points([(0, 0)], (40, 30))
        ((30, 40), [(29, 0)])
    """

    tag: int = 1

    def __post_init__(self) -> None:
        if self.tag != 1 and self.tag not in _METHODS:
            raise OptionError("tag", self.tag, "an EXIF orientation from 1 to 8")

    def __bool__(self) -> bool:
        """Whether anything is turned."""
        return self.tag != 1

    @property
    def swaps_sides(self) -> bool:
        """Whether width and height are exchanged."""
        return self.tag >= 5

    def turned_size(self, size: Size) -> Size:
        """The upright size from the stored one, or the stored size from the upright one."""
        return (size[1], size[0]) if self.swaps_sides else size

    def pixels(self, picture: Image.Image) -> Image.Image:
        """The upright picture, without an entry that would turn it again."""
        if not self:
            return picture
        turned = picture.transpose(_METHODS[self.tag])
        for name in _EXIF_ENTRIES:
            turned.info.pop(name, None)
        return turned

    def boxes(self, boxes: Sequence[Sequence[float]], stored: Size) -> list[list[float]]:
        """Boxes x0, y0, x1, y1, half open, in the upright picture."""
        turned = []
        for x0, y0, x1, y1 in boxes:
            xs = (stored[0] - x1, stored[0] - x0) if self.tag in _MIRRORS_X else (x0, x1)
            ys = (stored[1] - y1, stored[1] - y0) if self.tag in _MIRRORS_Y else (y0, y1)
            (left, right), (top, bottom) = (ys, xs) if self.swaps_sides else (xs, ys)
            turned.append([left, top, right, bottom])
        return turned

    def points(self, points: Sequence[tuple[float, float]], stored: Size) -> list[tuple[float, float]]:
        """Points x, y in the upright picture; whole numbers are pixels, so that the first of 40 becomes the last, 39."""
        turned = []
        for point in points:
            x = _mirrored(point[0], stored[0]) if self.tag in _MIRRORS_X else point[0]
            y = _mirrored(point[1], stored[1]) if self.tag in _MIRRORS_Y else point[1]
            turned.append((y, x) if self.swaps_sides else (x, y))
        return turned


def _mirrored(value: float, side: int) -> float:
    """The pixel counted from the other end; what is within the last pixel stays inside."""
    mirrored = side - 1 - value
    return 0 if -1 < mirrored < 0 else mirrored


UPRIGHT = Orientation()


def orientation_of(picture: Image.Image) -> Orientation:
    """The orientation of a picture's pixels; of an unread TIFF, that of its file.

    Pillow turns a TIFF upright when it reads the pixels, and forgets its tag. A tag that cannot be read, or is none of the
    eight, counts as upright, as in viewers.
    """
    try:
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            tag = picture.tag_v2.get(ExifTags.Base.Orientation)
        else:
            tag = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a broken EXIF block raises many kinds, and the pixels are whole
        return UPRIGHT
    return Orientation(tag) if isinstance(tag, int) and tag in _METHODS else UPRIGHT


def upright(picture: Image.Image) -> Image.Image:
    """Turns a picture upright by its EXIF orientation."""
    picture.load()
    return orientation_of(picture).pixels(picture)


def stored_size(picture: Image.Image) -> Size:
    """Width and height of a picture's pixels in its file; only later releases of Pillow swap those of an unread TIFF."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and orientation_of(picture):
        return int(picture.tag_v2[256]), int(picture.tag_v2[257])
    return picture.size
