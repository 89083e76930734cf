"""Image folders: images without labels, for prediction."""

from pathlib import Path

from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.loaders import WholeLoader
from datamodules.options import LoadingOptions
from datamodules.ranks import RankShare
from datamodules.samples import Sample, SampleError, collate
from vitrine.core.worker_signals import leave_signals_to_parent
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converters.folder import EXTENSIONS


class ImageFolder(Dataset[Sample]):
    """All images below a folder, each named by its path in it.

    Args:
        root: the folder.
        preprocessing: makes images ready for the backbone.

    Raises:
        FileNotFoundError: where there is no such folder, or no image in it.
        SampleError: while reading, for a broken image.
    """

    def __init__(self, root: Path, preprocessing: Preprocessing) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"predict_root {root} is no folder; give one with images.")
        self.root = root
        self.preprocessing = preprocessing
        images = (path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file())
        self.paths = sorted(path for path in images if not path.name.startswith("."))
        if not self.paths:
            raise FileNotFoundError(f"predict_root {root} holds no images ({', '.join(sorted(EXTENSIONS))}).")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Sample:
        path = self.paths[number]
        try:
            with Image.open(path) as image:
                pixels = self.preprocessing(image)
        except Exception as error:  # Pillow's decoders raise many kinds
            raise SampleError(f"{path} is no readable image ({error}); mend or remove it.") from error
        return {"key": path.relative_to(self.root).as_posix(), "image": pixels}


def folder_loader(images: ImageFolder, loading: LoadingOptions, share: RankShare) -> WholeLoader:
    """Batches of a folder's images, each once over all ranks; this rank's share."""
    own = Subset(images, range(share.rank, len(images), share.world_size))
    loader = DataLoader(
        own,
        loading.batch_size,
        num_workers=loading.num_workers,
        collate_fn=collate,
        worker_init_fn=leave_signals_to_parent,
    )
    return WholeLoader(loader, share.most_batches(len(images), loading.batch_size))
