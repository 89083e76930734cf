"""A folder of images for prediction."""

from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.folder import EXTENSIONS


class ImageFolder(Dataset[dict[str, Any]]):
    """All images below a folder, each named by its path in it.

    Args:
        root: the folder.
        preprocessing: makes images ready.

    Raises:
        FileNotFoundError: where there is no such folder, or no image in it.
        SampleError: while reading, for a broken image.
    """

    def __init__(self, root: Path, preprocessing: Preprocessing) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"predict_root {root} is no folder; give one with images.")
        self.root = root
        self.preprocessing = preprocessing
        found = (path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
        self.paths = sorted(path for path in found if not path.name.startswith("."))
        if not self.paths:
            raise FileNotFoundError(f"predict_root {root} holds no images ({', '.join(sorted(EXTENSIONS))}).")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, Any]:
        path = self.paths[number]
        try:
            with Image.open(path) as image:
                pixels = self.preprocessing(image)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise SampleError(f"{path} is no readable image ({error}); mend or remove it.") from error
        return {"key": path.relative_to(self.root).as_posix(), "image": pixels}


class SampleError(ValueError):
    """One sentence about a sample that cannot be read.

    A DataLoader raises a worker's error again with the worker's traceback as its message; the sentence stands at the end.

    Args:
        message: the sentence, or a traceback that ends in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())
