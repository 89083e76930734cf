"""Placement of annotation on an upright image: whether it was drawn on the stored pixels or on the upright ones."""

from vitrine.data.orientation import UPRIGHT, Orientation, Size
from vitrine.data.shards.images import EncodedImage, decode, to_png


def annotation_orientation(annotated: Size | None, image: EncodedImage, name: str) -> Orientation:
    """By which boxes and points are turned to fit an upright image.

    Annotation of the stored size is turned with its image, and one of the upright size stays. Where both sizes are equal (a
    square, a mirrored image or one upside down), annotation counts as drawn on the stored pixels.

    Args:
        annotated: width and height of the image on which they were drawn; None for its stored size.
        image: upright.
        name: of the image in messages.

    Raises:
        ValueError: where the size is neither.
    """
    if annotated in {None, image.source_size}:
        return image.orientation
    if annotated == image.size:
        return UPRIGHT
    raise ValueError(
        f"{name} is {_sizes(image)}, but its annotation is of {_text(annotated or image.size)}: correct one."
    )


def place_map(encoded: EncodedImage, image: EncodedImage, name: str) -> bytes:
    """The PNG of a mask or object map, turned with its image by the rule of `annotation_orientation`.

    A map that has an EXIF orientation of its own is upright already.

    Raises:
        ValueError: where it has neither size of its image.
    """
    if encoded.size == image.source_size and image.orientation and not encoded.orientation:
        return to_png(image.orientation.pixels(decode(encoded.data, name)))
    if encoded.size != image.size:
        raise ValueError(f"{name} is {_text(encoded.size)}, its image {_sizes(image)}: give both in one size.")
    return encoded.data


def _sizes(image: EncodedImage) -> str:
    stored = f" ({_text(image.source_size)} as stored)" if image.source_size != image.size else ""
    return f"{_text(image.size)}{stored}"


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
