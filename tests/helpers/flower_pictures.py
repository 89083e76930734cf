"""Pictures of one colour each for the bundled flower network, in a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

import vitrine

WEIGHTS = Path(vitrine.__file__).parent / "data" / "an8flower" / "flower_net.safetensors"
NETWORK = "vitrine.data.an8flower.network:FlowerNet"


def write_pictures(folder: Path, count: int = 3, size: tuple[int, int] = (100, 84), seed: int = 0) -> list[Path]:
    """Noise on a grey disc, as PNG files ``0.png`` and so on, of a width and height."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        values = generator.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
        Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(path)
    return paths
