"""Pictures for the benchmarks of reading: JPEGs like photographs, and shards of them."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitrine.data.shards.sample import Sample, make_key
from vitrine.data.shards.writer import write_shards

WIDTH, HEIGHT = 500, 375
_OCTAVES = ((8, 60.0), (32, 26.0), (128, 14.0))
"""Cells across the width, and the standard deviation of each octave, in grey levels."""
_GRAIN = 6.0


def photograph(seed: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG of smooth noise in several octaves with a little grain: at 500 x 375 pixels, of about 86 kB.

    Args:
        seed: of the noise.
        width: in pixels.
        height: in pixels.
    """
    random = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128.0) + random.normal(0, _GRAIN, (height, width, 1))
    for cells, deviation in _OCTAVES:
        across, down = min(cells, width), max(1, min(cells, width) * height // width)
        coarse = random.normal(0, deviation, (down, across, 3)) + random.normal(0, deviation, (down, across, 1))
        picture += np.stack(
            [np.asarray(Image.fromarray(coarse[..., c].astype(np.float32)).resize((width, height))) for c in range(3)],
            axis=-1,
        )
    buffer = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_photographs(
    folder: Path, count: int, width: int = WIDTH, height: int = HEIGHT, shard_size: int = 100
) -> Path:
    """A set whose split ``train`` is `photograph`, a seed each."""
    return _write(
        folder,
        [Sample(f"{seed:06d}", partial(photograph, seed, width, height), 0) for seed in range(count)],
        shard_size,
    )


def write_files(folder: Path, files: Sequence[Path], shard_size: int = 100) -> Path:
    """A set whose split ``train`` is picture files."""
    return _write(
        folder, [Sample(f"{n:06d}-{make_key(file.name)}", file, 0) for n, file in enumerate(files)], shard_size
    )


def _write(folder: Path, samples: Sequence[Sample], shard_size: int) -> Path:
    options: dict[str, Any] = {"dataset": "pictures", "split": "train", "classes": ["picture"], "annotations": ()}
    write_shards(samples, folder / "train", **options, shard_size=shard_size)
    return folder
