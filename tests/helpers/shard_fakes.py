"""Small shards, a feature extractor and a module that records what it saw, and a run of them in one process or two."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules import ShardDataModule
from vitrine.core.batch import Features
from vitrine.core.options import grouped
from vitrine.data.feature_store import manifest
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.writer import write_shards

CLASSES = ("ant", "bee", "cat")
TINY = Preprocessing(size=8, resize=8)
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def write_images(folder: Path, count: int) -> list[Path]:
    """Images of one random colour each."""
    folder.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    paths = [folder / f"image_{number:03d}.png" for number in range(count)]
    for path, colour in zip(paths, colours, strict=True):
        Image.fromarray(np.broadcast_to(colour, (10, 12, 3)).copy()).save(path)
    return paths


def write_split(
    shards: Path, split: str, count: int, shard_size: int = 1000, *, classes: int = 3, multi_label: bool = False
) -> Path:
    """A split of one-coloured images, classes in turn; with several labels image n has n % 3 classes."""
    samples = []
    for number, path in enumerate(write_images(shards.parent / f"{shards.name}_{split}_images", count)):
        label: Any = list(range(number % 3)) if multi_label else number % classes
        samples.append(Sample(key=f"{split}_{number:03d}", image=path, label=label))
    write_shards(
        samples,
        shards / split,
        dataset="tiny",
        split=split,
        classes=CLASSES[:classes],
        annotations=(),
        multi_label=multi_label,
        shard_size=shard_size,
        workers=0,
    )
    return shards


def module_of(folder: Path, /, **options: Any) -> ShardDataModule:
    """A datamodule over tiny images in a folder, or where ``shards`` says; options are given by their names alone."""
    small = {"preprocessing": TINY, "num_workers": 0, "batch_size": 4, "shuffle_buffer": 7}
    cache = {"folder": folder.parent / "features"}
    arguments = {"shards": folder} | small | cache | options
    return ShardDataModule(**grouped(ShardDataModule, arguments))


def at(data: ShardDataModule, rank: int = 0, world: int = 1, epoch: int = 0, setup: str = "fit") -> ShardDataModule:
    """The datamodule as it is on one of several ranks, in one epoch, without an extractor."""
    progress = SimpleNamespace(
        is_last_batch=False, current=SimpleNamespace(ready=0, started=0, processed=0, completed=0)
    )
    epochs = SimpleNamespace(ready=1, started=1, completed=0)
    loop = SimpleNamespace(
        epoch_loop=SimpleNamespace(batch_progress=progress),
        epoch_progress=SimpleNamespace(current=epochs, total=epochs),
    )
    place = {"global_rank": rank, "world_size": world, "current_epoch": epoch, "overfit_batches": 0}
    trainer: Any = SimpleNamespace(**place, lightning_module=None, fit_loop=loop)
    data.trainer = trainer
    data.setup(setup)
    return data


@dataclass
class StandingProgress:
    """A trainer's progress that stays where it is put."""

    epoch: int = 0
    trained_batches: int | None = 0
    is_complete: bool = False
    repeated: int | None = None
    limit: int = 1000

    def order_of(self, epoch: int) -> int:
        return epoch if self.repeated is None else self.repeated

    def limited(self, batches: int) -> int:
        return min(batches, self.limit)

    def resume_after(self, batches: int) -> None:
        self.trained_batches = batches

    def begin_epoch(self) -> None:
        pass


def keys_of(batches: Iterable[Any]) -> list[list[str]]:
    """The keys of each batch."""
    return [list(batch["key"]) for batch in batches]


class MeanColour:
    """The mean of each channel as features; counts images, and may break down after some of them."""

    def __init__(self, key: str = "mean colour", limit: int | None = None) -> None:
        self.key = key
        self.limit = limit
        self.images = 0

    def __call__(self, images: Tensor) -> Features:
        if self.limit is not None and self.images + len(images) > self.limit:
            raise RuntimeError("killed")
        self.images += len(images)
        features = images.mean(dim=(2, 3))
        return Features(features=features, logits=features.flip(1))


class Recorder(pl.LightningModule):
    """A linear head that keeps the keys of every batch."""

    one_pass = False

    def __init__(self, extractor: MeanColour | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3, 3)
        self.feature_extractor = extractor
        self.explained_classes: Sequence[int] = ()
        self.seen: dict[str, list[list[str]]] = {"train": [], "val": [], "test": [], "predict": []}

    def training_step(self, batch: Any) -> Tensor:
        self.seen["train"].append(batch["key"])
        features = batch["features"] if "features" in batch else batch["image"].mean(dim=(2, 3))
        logits = self.head(features)
        if batch["label"].is_floating_point():
            return F.binary_cross_entropy_with_logits(logits, batch["label"])
        return F.cross_entropy(logits, batch["label"])

    def validation_step(self, batch: Any) -> None:
        self.seen["val"].append(batch["key"])

    def test_step(self, batch: Any) -> None:
        self.seen["test"].append(batch["key"])

    def predict_step(self, batch: Any) -> None:
        self.seen["predict"].append(batch["key"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def export(self, folder: Path) -> Path:
        """Writes nothing."""
        return folder


def run(rank: int, shards: Path, images: Path, out: Path, devices: int) -> None:
    """Fits on kept features and on streamed ones, tests and predicts; writes what each rank saw."""
    with small_chunks():
        _run(shards, images, out, devices)


@contextmanager
def small_chunks(rows: int = 8) -> Iterator[None]:
    """Within it, a new feature store of a small split has chunks of so many rows."""
    with patch.object(manifest, "MIN_CHUNK_ROWS", rows):
        yield


def _run(shards: Path, images: Path, out: Path, devices: int) -> None:
    strategy = "ddp" if devices > 1 else "auto"
    for name in ("kept", "streamed"):
        cache = out / "features"
        data = module_of(shards, cache=name == "kept", folder=cache, predict_root=images, num_workers=1)
        module = Recorder(MeanColour())
        trainer = pl.Trainer(devices=devices, strategy=strategy, max_epochs=2, **QUIET)
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
        trainer.predict(module, datamodule=data, return_predictions=False)
        seen = {**module.seen, "weight": module.head.weight.detach().tolist()}
        (out / f"{name}_{trainer.global_rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def fit_once(data: Any, extractor: Any) -> Recorder:
    """One epoch of a recorder with a feature extractor."""
    module = Recorder(extractor)
    pl.Trainer(max_epochs=1, **QUIET).fit(module, datamodule=data)
    return module


def stores_of(data: Any) -> list[Path]:
    """The folders in which a datamodule keeps features."""
    return sorted(path.parent for path in Path(data.features.folder).glob("*/manifest.json"))
