"""CUB-200-2011: a box an image, tuned on the official training images and measured on the test images."""

from pathlib import Path

from benchmarks.localization.images import LocalizationSet
from vitrine.data.shards.converters.cub import list_cub


def read_birds(folder: Path) -> LocalizationSet:
    """Lists ``CUB_200_2011``; the errors are those of `list_cub`."""
    return LocalizationSet("cub", folder, list_cub(folder, "train").samples, list_cub(folder, "test").samples)
