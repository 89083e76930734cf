"""Image folders: images without labels, for prediction."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from datamodules.damaged import Damaged, SkipCounter, read_or_skip
from datamodules.epoch_order import EvaluationBatches
from datamodules.image_batches import ImageBatches
from datamodules.loaders import WholeLoader
from datamodules.options import LoadingOptions, OnError
from datamodules.ranks import RankShare
from datamodules.samples import Sample, SampleError
from vitrine.core.batch import Batch
from vitrine.data.picture_pixels import picture_pixels
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.images import PICTURE_SUFFIXES
from vitrine.data.shards.picture_folders import LeftOut, PictureFolder


class ImageFolder(Dataset[Sample]):
    """All images below a folder, upright, each named by its path in it; of an animation, its first frame.

    Args:
        root: the folder.
        preprocessing: makes images ready for the backbone.
        on_error: whether a broken image within a batch raises, or comes as what is wrong with it.

    Raises:
        FileNotFoundError: where there is no such folder, or no image in it.
        SampleError: while reading, for a broken image.
    """

    def __init__(self, root: Path, preprocessing: Preprocessing, on_error: OnError = "stop") -> None:
        self.root = root = check_predict_root(root)
        self.preprocessing = preprocessing
        self.on_error = on_error
        left_out = LeftOut()
        self.paths = sorted(root / path for path, _ in PictureFolder(root, left_out).pictures(root))
        if not self.paths:
            raise FileNotFoundError(f"predict_root {root} holds no images ({', '.join(sorted(PICTURE_SUFFIXES))}).")
        for note in left_out.notes():
            rank_zero_info(f"predict_root {root}: {note}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Sample:
        return self.preprocessing.normalized(self._placed(number))

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample | Damaged]:
        """Images in 8 bits, or what is wrong with them where ``on_error`` is ``skip``; `finished` normalises a batch."""
        return [
            read_or_skip(partial(self._placed, number), partial(self._key, number), skip=self.on_error == "skip")
            for number in numbers
        ]

    def finished(self, batch: Batch) -> Batch:
        """A batch of what `__getitems__` gives, with its images normalised."""
        return cast("Batch", self.preprocessing.normalized(dict(batch)))

    def _placed(self, number: int) -> Sample:
        image = tv_tensors.Image(self._pixels(self.paths[number]))
        return self.preprocessing.placed({"key": self._key(number), "image": image})

    def _pixels(self, path: Path) -> Tensor:
        """(C, H, W) uint8 pixels of an image, upright, in the colours of the preprocessing."""
        try:
            return picture_pixels(path, self.preprocessing.mode)
        except ValueError as error:
            raise SampleError(str(error)) from error

    def _key(self, number: int) -> str:
        return self.paths[number].relative_to(self.root).as_posix()


def check_predict_root(root: Path | None) -> Path:
    """The folder of images to predict.

    Raises:
        ValueError: where none is given.
        FileNotFoundError: where it is no folder.
    """
    if root is None:
        raise ValueError("data.init_args.predict_root is not given; name the folder of images to predict.")
    if not root.is_dir():
        raise FileNotFoundError(f"predict_root {root} is no folder; give one with images.")
    return root


def folder_loader(images: ImageFolder, loading: LoadingOptions, share: RankShare, skipped: SkipCounter) -> WholeLoader:
    """Batches of a folder's images, each once over all ranks; this rank's share."""
    batches = EvaluationBatches(np.arange(len(images)), loading.batch_size, share)
    return WholeLoader(ImageBatches(images, batches, loading.num_workers, skipped, "predict"), batches.most)
