"""Small images, samples and a CUB folder in its official layout."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards

PixelBytes = Callable[..., bytes]
MakeSamples = Callable[[int], list[Sample]]


@pytest.fixture
def picture() -> PixelBytes:
    """Makes a small image file in memory; the seed sets its colours."""

    def make(seed: int = 0, size: tuple[int, int] = (8, 6), mode: str = "RGB", kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        colours = bytes((seed * 31 + 7 * position) % 256 for position in range(size[0] * size[1] * 4))
        bands = len(Image.new(mode, (1, 1)).getbands())
        Image.frombytes(mode, size, colours[: size[0] * size[1] * bands]).save(buffer, format=kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_samples(picture: PixelBytes) -> MakeSamples:
    """Makes n samples of two classes with a box each."""

    def make(count: int) -> list[Sample]:
        return [
            Sample(f"s{number:03d}", picture(number), number % 2, boxes=[(1, 1, 5, 4)], extra={"source": str(number)})
            for number in range(count)
        ]

    return make


@pytest.fixture
def cub_root(tmp_path: Path, picture: PixelBytes) -> Path:
    """CUB_200_2011 with two classes, four images and three parts."""
    root = tmp_path / "CUB_200_2011"
    names = ["001.Black_footed_Albatross/A_1.jpg", "001.Black_footed_Albatross/A_2.jpg"]
    names += ["002.Laysan_Albatross/L_1.jpg", "002.Laysan_Albatross/L_2.jpg"]
    tables = {
        "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "images.txt": "".join(f"{number} {name}\n" for number, name in enumerate(names, start=1)),
        "image_class_labels.txt": "1 1\n2 1\n3 2\n4 2\n",
        "train_test_split.txt": "1 0\n2 1\n3 1\n4 1\n",
        "bounding_boxes.txt": "1 1.0 2.0 3.0 4.0\n2 0.5 1.0 6.0 3.0\n3 2.0 1.0 3.0 5.0\n4 0.0 0.0 8.0 6.0\n",
        "parts/parts.txt": "1 back\n2 left eye\n3 tail\n",
        "parts/part_locs.txt": "".join(f"{i} 1 0.0 0.0 0\n{i} 3 7.0 5.0 1\n{i} 2 {i}.5 2.0 1\n" for i in range(1, 5)),
    }
    for name, text in tables.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for number, name in enumerate(names):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(picture(number, kind="JPEG"))
    return root


@pytest.fixture
def class_folders(tmp_path: Path, picture: PixelBytes) -> Path:
    """Two class folders of two images each."""
    root = tmp_path / "pets"
    for number, name in enumerate(["dog/b.png", "dog/a.png", "cat/c.png", "cat/deep/d.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(number))
    return root


@pytest.fixture
def split(tmp_path: Path, make_samples: MakeSamples) -> Path:
    """Six samples with boxes in two shards."""
    options = {"dataset": "pets", "split": "train", "classes": ["cat", "dog"], "annotations": ["boxes"]}
    write_shards(make_samples(6), tmp_path / "out", shard_size=3, workers=1, **options)  # type: ignore[arg-type]
    return tmp_path / "out"
