"""Settings of an8Flower: all options that the bytes of a generated set depend on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from vitrine.core.atomic_io import atomic_file
from vitrine.core.options import CountOrZero, OptionError, Options, Range
from vitrine.data.an8flower.augmentation import MAX_CROPS, MAX_ROTATIONS
from vitrine.data.an8flower.variants import Variant

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class FlowerSettings(Options):
    """Options of a variant; the defaults are those of the paper: 40 views, five crops and rotations, five folds.

    Args:
        variant: ``single-6c``, ``double-12c`` or ``part-2c``.
        views: frames of a full turn.
        size: side of a frame in pixels.
        crops: crops of a frame: the centre, then the corners.
        rotations: rotations of a crop, by 5, 10, 15, 20 and 25 degrees.
        crop_size: side of a crop in pixels, at most ``size``.
        folds: number of folds, at most ``views``; view v belongs to fold v mod ``folds``.
        test_fold: index of the fold that is the test split.
        supersampling: sub-samples along each side of a pixel.
        seed: of the plant's small irregularities and of the shards' order.
        without_parts: whether each test image comes with its part map and with the images of the plant without each part.

    Raises:
        OptionError: for a value out of range.
    """

    variant: Variant
    views: Annotated[int, Range(at_least=2, at_most=3600)] = 40
    size: Annotated[int, Range(at_least=8, at_most=4096)] = 300
    crops: Annotated[int, Range(at_least=1, at_most=MAX_CROPS)] = 5
    rotations: Annotated[int, Range(at_least=1, at_most=MAX_ROTATIONS)] = 5
    crop_size: Annotated[int, Range(at_least=8)] = 250
    folds: Annotated[int, Range(at_least=2)] = 5
    test_fold: CountOrZero = 0
    supersampling: Annotated[int, Range(at_least=1, at_most=8)] = 3
    seed: CountOrZero = 0
    without_parts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {"crop_size": (8, self.size), "folds": (2, self.views), "test_fold": (0, self.folds - 1)}
        for name, (low, high) in limits.items():
            if getattr(self, name) > high:
                raise OptionError(name, getattr(self, name), f"a whole number from {low} to {high}")

    def views_of(self, split: str) -> list[int]:
        """The views of ``test`` (those with index % folds == test_fold) or of ``train`` (all others)."""
        return [v for v in range(self.views) if (v % self.folds == self.test_fold) == (split == "test")]

    def write(self, folder: Path) -> None:
        """Records the settings in ``folder``."""
        with atomic_file(folder / SETTINGS_FILE) as partial:
            partial.write_text(json.dumps(self._recorded(), indent=1) + "\n", encoding="utf-8")

    def check_same(self, folder: Path) -> None:
        """Compares the settings with those recorded in ``folder``.

        Raises:
            FileNotFoundError: where ``folder`` has no record.
            ValueError: where they differ, or the record cannot be read.
        """
        path = folder / SETTINGS_FILE
        recorded = _read(path)
        for name, value in self.to_dict().items():
            known = recorded.get(name, False if name == "without_parts" else None)
            if known != value:
                raise ValueError(
                    f"{path} says that the set there has {name} {known!r}, not {value!r}; "
                    "give another output folder, or remove that one."
                )

    def _recorded(self) -> dict[str, Any]:
        """What is written: ``without_parts`` where it is on, so that other sets have the bytes of earlier releases."""
        return {name: value for name, value in self.to_dict().items() if name != "without_parts" or value}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist though there are sets beside it; remove them, or go elsewhere.")
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict):
        raise ValueError(f"{path} is no JSON object of settings; remove its folder and generate the set again.")
    return recorded
