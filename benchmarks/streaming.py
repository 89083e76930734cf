"""Samples per second of the datamodule, over a bare webdataset loop with the best bare decoder and as many workers.

    python -m benchmarks.streaming --shards data/cub

Without --shards, JPEGs like photographs of about 86 kB are made. Rounds alternate; the ratio is the median of the rounds'
ratios. Prints a table and writes one JSON.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.bare_decoders import RESIZE, SIZE, by_torchvision
from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.pictures import HEIGHT, WIDTH, write_photographs
from benchmarks.rounds import Run, ratio, side_by_side
from datamodules import ShardDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions
from datamodules.split import Split
from vitrine.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitrine.data.shards.schema import IMAGE_EXTENSIONS

OURS, BARE = "datamodule", "bare webdataset loop"


def decoded(raw: Mapping[str, Any]) -> tuple[str, Tensor]:
    """The key of a sample, and its pixels; without any check."""
    return raw["__key__"], by_torchvision(next(raw[name] for name in IMAGE_EXTENSIONS if name in raw))


def stacked(samples: Iterable[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    """Keys and uint8 images of a batch."""
    keys, images = zip(*samples, strict=True)
    return list(keys), torch.stack(images)


def bare_loop(split: Split, batch_size: int, workers: int, seed: int) -> Iterable[tuple[list[str], Tensor]]:
    """What webdataset's documentation makes of shards: shuffled, decoded and stacked in the workers; normalised here."""
    paths = [str(Path(split.folder, entry.file)) for entry in split.index.shards]
    pipeline = wds.DataPipeline(
        wds.SimpleShardList(paths, seed=seed),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.shuffle(1000),
        wds.map(decoded),
        wds.batched(batch_size, collation_fn=stacked, partial=True),
    )
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for keys, images in DataLoader(pipeline, batch_size=None, num_workers=workers):
        yield keys, images.float().div_(255).sub_(mean).div_(std)


def number_of_samples(batches: Iterable[Any]) -> int:
    """Reads them all."""
    return sum(len(batch["key"] if isinstance(batch, dict) else batch[0]) for batch in batches)


def loops(shards: Path, batch_size: int, workers: int, seed: int) -> tuple[dict[str, Run], int]:
    """One epoch of each, by name, and the samples of an epoch.

    Raises:
        ValueError: where the two do not read as many.
    """
    options = LoadingOptions(batch_size, workers, seed=seed, val_fraction=0.0)
    data = ShardDataModule(shards, Preprocessing(SIZE, RESIZE), options, FeatureCacheOptions(cache=False))
    data.setup("fit")
    loader, split = data.train_dataloader(), data.split("train")

    def read(batches: Iterable[Any]) -> None:
        if (found := number_of_samples(batches)) != split.index.count:
            raise ValueError(f"{found} samples of {split.index.count} were read; give as many shards as workers.")

    bare = partial(bare_loop, split, batch_size, workers, seed)
    return {OURS: lambda: read(loader), BARE: lambda: read(bare())}, split.index.count


def measure(shards: Path, batch_size: int, workers: int, rounds: int, seed: int) -> dict[str, Any]:
    """Samples per second of both in each round, and the ratio of ours over theirs."""
    runs, samples = loops(shards, batch_size, workers, seed)
    times = side_by_side(runs, rounds)
    speeds = {name: [samples / taken for taken in seconds] for name, seconds in times.items()}
    return speeds | {"ratio": ratio(times, BARE, OURS)}


def smoke() -> Mapping[str, float]:
    """The bare loop's time over the datamodule's, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(write_photographs(Path(folder), 96, shard_size=48), 32, 0, 5, 0)
    return {"streaming: bare webdataset loop / datamodule": found["ratio"]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shards", type=Path, help="folder with train/ (made like photographs)")
    parser.add_argument("--samples", type=int, default=800, help="that are made (%(default)s)")
    parser.add_argument("--width", type=int, default=WIDTH, help="of what is made, in pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=HEIGHT, help="of what is made, in pixels (%(default)s)")
    parser.add_argument("--shard-size", type=int, default=100, help="samples a shard that is made (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that are counted (%(default)s)")
    add_common_options(parser, "runs/benchmarks/streaming.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = (Path(folder), args.samples, args.width, args.height, args.shard_size)
        shards = args.shards or write_photographs(*made)
        found = measure(shards, args.batch_size, args.workers, args.rounds, args.seed)
    rows = [
        [f"{name} (samples/s)", *(f"{f(found[name]):.1f}" for f in (statistics.median, min, max))]
        for name in (OURS, BARE)
    ]
    show(f"Reading images ({machine()})", ["", "median", "least", "most"], [*rows, ["ratio", f"{found['ratio']:.3f}"]])
    write_figures(args.out, args, found)


if __name__ == "__main__":
    main()
