"""The pictures that ``vitrine explain`` is given: found in a folder, read ahead in a thread, and what could not be read."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import to_pil_image

from vitrine.core.folder_manifest import MANIFEST
from vitrine.data.picture_pixels import picture_pixels
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.images import PICTURE_SUFFIXES
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder


@dataclass(frozen=True)
class Picture:
    """One picture that was read."""

    key: str
    """Its path in the folder, with slashes."""
    path: Path
    pixels: Tensor
    """(C, H, W) uint8, upright, at its own size."""
    inputs: Tensor
    """(C, S, S) float, as the network takes it."""

    @property
    def folder(self) -> str:
        """The first folder of its path; empty for a picture that stands in none."""
        first, slash, _ = self.key.partition("/")
        return first if slash else ""

    def image(self) -> Image.Image:
        """The picture in RGB, at its own size."""
        image: Image.Image = to_pil_image(self.pixels)
        return image.convert("RGB")


@dataclass
class Pictures:
    """All pictures below a folder, or a single one.

    Args:
        root: the folder, or a picture.

    Raises:
        FileNotFoundError: where it does not exist, or there is no picture in it.
    """

    root: Path
    paths: Sequence[Path] = ()
    notes: Sequence[str] = ()
    """What was left out of the folder, in words."""
    unreadable: list[str] = field(default_factory=list)
    """A sentence for each picture that could not be read so far."""

    def __post_init__(self) -> None:
        if self.root.is_file():
            self.root, self.paths = self.root.parent, [self.root]
            return
        if not self.root.is_dir():
            raise FileNotFoundError(f"--images {self.root} does not exist; give a folder with pictures, or a picture.")
        left_out = LeftOut()
        found = [path for path, _ in PictureFolder(self.root, left_out).pictures(self.root)]
        self.paths = sorted(self.root / path for path in found if not self._is_result(path.parent))
        self.notes = left_out.notes()
        if not self.paths:
            suffixes = ", ".join(sorted(PICTURE_SUFFIXES))
            raise FileNotFoundError(f"--images {self.root} holds no pictures ({suffixes}); give a folder with some.")

    def _is_result(self, folder: Path) -> bool:
        """Whether a folder in the root, or one above it, was written by a run, such as an earlier one."""
        return any((self.root / place / MANIFEST).is_file() for place in (folder, *folder.parents) if place != Path())

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, path: Path) -> str:
        """The picture's path in the folder."""
        return path.relative_to(self.root).as_posix()

    def folders(self) -> list[str]:
        """The first folders in which pictures stand, sorted."""
        keys = (self.key(path).partition("/") for path in self.paths)
        return sorted({first for first, slash, _ in keys if slash})

    def batches(self, preprocessing: Preprocessing, batch_size: int) -> Iterator[tuple[list[Picture], int]]:
        """Batches of pictures, with how many files each took; those that cannot be read are left out and told of.

        A batch is read while the one before it is used.
        """
        self.unreadable.clear()
        parts = [self.paths[start : start + batch_size] for start in range(0, len(self.paths), batch_size)]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            waiting = deque([pool.map(lambda path: self._read(path, preprocessing), part) for part in parts[:1]])
            for number, part in enumerate(parts, start=1):
                results = list(waiting.popleft())
                for following in parts[number : number + 1]:
                    waiting.append(pool.map(lambda path: self._read(path, preprocessing), following))
                self.unreadable += [result for result in results if isinstance(result, str)]
                yield [result for result in results if isinstance(result, Picture)], len(part)

    def check_any_read(self) -> None:
        """Makes sure, after a pass, that there were pictures.

        Raises:
            ValueError: where none could be read.
        """
        if len(self.unreadable) == len(self.paths):
            raise ValueError(
                f"None of the {len(self)} pictures of {self.root} can be read; the first: {self.unreadable[0]}"
            )

    def _read(self, path: Path, preprocessing: Preprocessing) -> Picture | str:
        try:
            pixels = picture_pixels(path, preprocessing.mode, warn=False)
        except ValueError as error:
            return str(error)
        inputs = preprocessing.sample({"image": tv_tensors.Image(pixels)})["image"]
        return Picture(self.key(path), path, pixels, inputs)


def stacked(pictures: Sequence[Picture], device: torch.device) -> Tensor:
    """(B, C, S, S) inputs of the network on its device."""
    return torch.stack([picture.inputs for picture in pictures]).to(device)
