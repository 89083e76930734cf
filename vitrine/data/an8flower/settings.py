"""What an an8Flower set is made of: everything that its bytes depend on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitrine.core.atomic_io import atomic_file
from vitrine.data.an8flower.augmentation import MAX_CROPS, MAX_ROTATIONS
from vitrine.data.an8flower.variants import VARIANTS

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class FlowerSettings:
    """Defaults are the paper's: 40 views of 300 pixels, five crops of 250, five rotations, five folds.

    Raises:
        ValueError: A value is out of range.
    """

    variant: str
    views: int = 40
    size: int = 300
    crops: int = 5
    rotations: int = 5
    crop_size: int = 250
    folds: int = 5
    test_fold: int = 0
    supersampling: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is {self.variant!r}: take one of {', '.join(VARIANTS)}.")
        self._check("size", 8, 4096)
        self._check("crop_size", 8, self.size)
        self._check("crops", 1, MAX_CROPS)
        self._check("rotations", 1, MAX_ROTATIONS)
        self._check("supersampling", 1, 8)
        self._check("views", 2, 3600)
        self._check("folds", 2, self.views)
        self._check("test_fold", 0, self.folds - 1)
        self._check("seed", 0, 2**32 - 1)

    def _check(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: give a whole number from {low} to {high}.")

    def views_of(self, split: str) -> list[int]:
        """The views of ``test`` (those with index % folds == test_fold) or of ``train`` (all others)."""
        return [v for v in range(self.views) if (v % self.folds == self.test_fold) == (split == "test")]

    def write(self, folder: Path) -> None:
        """Records the settings in ``folder``, all or nothing."""
        with atomic_file(folder / SETTINGS_FILE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def check_same(self, folder: Path) -> None:
        """Compares with the settings that ``folder`` was made with.

        Raises:
            FileNotFoundError: ``folder`` records none.
            ValueError: They differ, or the record cannot be read.
        """
        path = folder / SETTINGS_FILE
        recorded = _read(path)
        for name, value in asdict(self).items():
            if recorded.get(name) != value:
                raise ValueError(
                    f"{path} says that the set there has {name} {recorded.get(name)!r}, not {value!r}: "
                    "give another output folder, or remove that one."
                )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist though there are sets beside it: remove them, or go elsewhere.")
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict):
        raise ValueError(f"{path} is no JSON object of settings: remove its folder and generate the set again.")
    return recorded
