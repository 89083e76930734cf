"""Samples per second of the datamodule, over a bare webdataset loop with the same decoding, transform and workers.

    python -m benchmarks.datamodule_speed --shards data/cub

Without --shards, images of noise are written. Rounds alternate; the ratio is the median of the rounds' ratios. Prints a table
and writes one JSON.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from benchmarks.common import machine, show, write_figures
from datamodules import ShardDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions
from datamodules.samples import Sample, collate
from datamodules.split import Split
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.sample import Sample as RawImage
from vitrine.data.shards.writer import write_shards


def noise(number: int, side: int) -> bytes:
    """A JPEG of smooth noise."""
    small = np.random.default_rng(number).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_set(folder: Path, samples: int, side: int, shard_size: int) -> Path:
    """A set whose training images are noise."""
    images = [RawImage(f"{number:06d}", partial(noise, number, side), 0) for number in range(samples)]
    options: dict[str, Any] = {"dataset": "noise", "split": "train", "classes": ["noise"], "annotations": ()}
    write_shards(images, folder / "train", **options, shard_size=shard_size)
    return folder


def prepared(split: Split, preprocessing: Preprocessing, raw: dict[str, Any]) -> Sample:
    """What the datamodule does to an undecoded sample."""
    return preprocessing.sample(split.decode(raw))


def collate_plain(samples: list[Sample]) -> Any:
    """A batch without the keys that webdataset adds."""
    return collate([{name: value for name, value in sample.items() if name != "__key__"} for sample in samples])


def bare_loop(split: Split, args: argparse.Namespace, epoch: int) -> Iterable[Any]:
    """What webdataset's documentation makes of shards: shuffled, decoded and put into batches in the workers."""
    paths = [str(Path(split.folder, entry.file)) for entry in split.index.shards]
    pipeline = wds.DataPipeline(
        wds.SimpleShardList(paths, seed=epoch),
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.shuffle(1000),
        wds.map(partial(prepared, split, Preprocessing(args.size))),
        wds.batched(args.batch_size, collation_fn=collate_plain, partial=True),
    )
    return DataLoader(pipeline, batch_size=None, num_workers=args.workers)


def speed(batches: Iterable[Any]) -> float:
    """Samples per second of one pass."""
    started, samples = time.perf_counter(), 0
    for batch in batches:
        samples += len(batch["key"])
    return samples / (time.perf_counter() - started)


def run(args: argparse.Namespace, shards: Path) -> dict[str, list[float]]:
    """Samples per second of both, a round each in turn, after one that is not counted."""
    data = ShardDataModule(
        shards,
        Preprocessing(args.size),
        LoadingOptions(args.batch_size, args.workers, val_fraction=0.0),
        FeatureCacheOptions(cache=False),
    )
    data.setup("fit")
    loader, split = data.train_dataloader(), data.split("train")
    found: dict[str, list[float]] = {"datamodule": [], "bare webdataset loop": []}
    for number in track(range(args.rounds + 1), description="rounds", console=Console(stderr=True)):
        speeds = {"datamodule": speed(loader), "bare webdataset loop": speed(bare_loop(split, args, number))}
        if number:
            for name, value in speeds.items():
                found[name].append(value)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datamodule_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, help="folder with train/ (images of noise)")
    parser.add_argument("--samples", type=int, default=1000, help="of noise (%(default)s)")
    parser.add_argument("--side", type=int, default=320, help="of the noise in pixels (%(default)s)")
    parser.add_argument("--shard-size", type=int, default=100, help="of the noise (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images a batch (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that are counted (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/datamodule_speed.json"), help="(%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args, args.shards or write_set(Path(folder) / "noise", args.samples, args.side, args.shard_size))
    ratio = statistics.median(one / bare for one, bare in zip(*found.values(), strict=True))
    rows = [
        [f"{name} (samples/s)", *(f"{f(of):.1f}" for f in (statistics.median, min, max))] for name, of in found.items()
    ]
    show(f"Reading images ({machine()})", ["", "median", "least", "most"], [*rows, ["ratio", f"{ratio:.3f}"]])
    write_figures(args.out, args, found | {"ratio": ratio})


if __name__ == "__main__":
    main()
