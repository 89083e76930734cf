"""Small sets and what is read back from their shards."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.an8flower.variants import Variant

SMALL: dict[str, Any] = {"views": 5, "size": 40, "crops": 2, "rotations": 2, "crop_size": 32}


@dataclass(frozen=True)
class StoredSample:
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    record: dict[str, Any]
    objects: NDArray[np.uint16] | None = None
    without: NDArray[np.uint8] | None = None
    """(P, H, W, 3) the image without each part."""


def _split(stacked: NDArray[np.uint8] | None, height: int) -> NDArray[np.uint8] | None:
    return None if stacked is None else stacked.reshape(-1, height, *stacked.shape[1:])


@pytest.fixture
def small() -> Callable[..., FlowerSettings]:
    def make(variant: Variant = "single-6c", **changes: Any) -> FlowerSettings:
        return FlowerSettings(variant, **{**SMALL, **changes})

    return make


@pytest.fixture
def read_split() -> Callable[[Path], dict[str, StoredSample]]:
    def read(folder: Path) -> dict[str, StoredSample]:
        members: dict[str, bytes] = {}
        for shard in sorted(folder.glob("*.tar")):
            with tarfile.open(shard) as tar:
                members |= {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        pixels = {
            name: np.array(Image.open(io.BytesIO(data))) for name, data in members.items() if name.endswith("png")
        }
        keys = [name.removesuffix(".json") for name in members if name.endswith(".json")]
        return {
            key: StoredSample(
                pixels[f"{key}.png"],
                pixels[f"{key}.mask.png"],
                json.loads(members[f"{key}.json"]),
                pixels.get(f"{key}.objects.png"),
                _split(pixels.get(f"{key}.counterfactuals.png"), len(pixels[f"{key}.png"])),
            )
            for key in keys
        }

    return read
