"""Counterfactual images of a sample: the same view without one of its objects, stored one below the other in one PNG."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vitrine.data.colours import to_rgb
from vitrine.data.orientation import Size
from vitrine.data.shards.images import decode_upright, to_png


def stacked_images(sources: Sequence[bytes], size: Size, name: str) -> bytes:
    """The PNG of P images, one below the other.

    Args:
        sources: P encoded images; each is turned upright.
        size: width and height of the upright sample's image.
        name: of a counterfactual in messages.

    Raises:
        ValueError: for none, a broken image, or one of another size.
    """
    if not sources:
        raise ValueError(f"There is not {name}; give one for each object that is removed.")
    pictures = [to_rgb(decode_upright(data, name).pixels, name) for data in sources]
    for picture in pictures:
        if picture.size != size:
            raise ValueError(
                f"{name} is {picture.width} x {picture.height}, its image {size[0]} x {size[1]}: give all in one size."
            )
    return to_png(Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures])))


def unstacked_images(picture: Image.Image, count: int) -> list[Image.Image]:
    """The images of a picture of ``count`` images of equal size, one below the other.

    Example:
        >>> [image.size for image in unstacked_images(Image.new("RGB", (8, 12)), count=2)]
        [(8, 6), (8, 6)]
    """
    height = picture.height // count
    return [picture.crop((0, height * i, picture.width, height * (i + 1))) for i in range(count)]
