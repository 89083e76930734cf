"""Reading a feature store: from mapped chunks over one flat memory-mapped array, and from the disk over plain reads.

    python -m benchmarks.feature_store --samples 100000 --width 768 --classes 1000 --disk 4

Batches are of consecutive samples, of samples drawn from windows of consecutive ones, and of samples drawn from all; medians
of several passes over the same batches, which are in the page cache. With ``--disk GB`` a store of that size is read from the
disk too (`benchmarks.store_disk`). Prints tables and writes one JSON.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.rounds import ratio, side_by_side
from benchmarks.store_disk import disk_figures
from vitrine.core.batch import Batch, Features
from vitrine.data.feature_store import FeatureStore, FeatureTable

BATCHES, PASSES = 100, 5


class RandomFeatures:
    """Features and logits of random numbers, whatever the images.

    Args:
        width: number of features.
        classes: number of logits.
    """

    key = "random"

    def __init__(self, width: int, classes: int) -> None:
        self.width, self.classes = width, classes

    def __call__(self, images: Tensor) -> Features:
        """Features (B, width) and logits (B, classes)."""
        count = len(images)
        return Features(features=torch.rand(count, self.width), logits=torch.rand(count, self.classes))


def written_store(folder: Path, samples: int, width: int, classes: int) -> FeatureTable:
    """A complete store of random features."""
    store = FeatureStore(folder, {"features": "random"}, samples)
    store.create(width, classes, ())
    chunks = store.missing_chunks()

    def batches() -> Iterator[Batch]:
        for rows in map(torch.from_numpy, store.batches_of(chunks, 256)):
            yield Batch(key=_keys(rows), row=rows, image=torch.zeros(len(rows), 1), label=rows)

    store.fill(chunks, batches(), RandomFeatures(width, classes), torch.device("cpu"), "writing")
    return store.read()


def flat_reader(folder: Path, table: FeatureTable) -> Callable[[Tensor], Any]:
    """Reads the same samples from one flat array for each of features, logits, labels and keys."""
    whole = table.batch(torch.arange(len(table)))
    arrays = {name: whole[name].numpy() for name in ("features", "logits", "label")}
    arrays["keys"] = np.array([key.encode() for key in whole["key"]])
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    mapped = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in arrays}

    def read(rows: Tensor) -> Any:
        index = rows.numpy()
        keys = [key.decode() for key in mapped["keys"][index].tolist()]
        return [keys, *(torch.from_numpy(mapped[name][index]) for name in ("features", "logits", "label"))]

    return read


def orders(samples: int, window: int, seed: int) -> dict[str, Tensor]:
    """Rows of all samples in order, shuffled within windows, and shuffled as a whole."""
    generator = torch.Generator().manual_seed(seed)
    windows = torch.split(torch.arange(samples), window)
    return {
        "in order": torch.arange(samples),
        f"windows of {window}": torch.cat([part[torch.randperm(len(part), generator=generator)] for part in windows]),
        "all shuffled": torch.randperm(samples, generator=generator),
    }


def _keys(rows: Tensor) -> list[str]:
    return [f"train_{row:08d}" for row in rows.tolist()]


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Microseconds a sample of both ways, for each order and size of batches, and the ratio of flat over chunks."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        table = written_store(Path(folder), args.samples, args.width, args.classes)
        readers = {"flat": flat_reader(Path(folder), table), "chunks": table.batch}
        for batch_size in args.batch_sizes:
            for order, rows in orders(args.samples, args.window, args.seed).items():
                batches = list(torch.split(rows, batch_size)[:BATCHES])
                times = side_by_side(
                    {name: partial(_read_all, read, batches) for name, read in readers.items()}, PASSES
                )
                each = {name: 1e6 * statistics.median(of) / sum(map(len, batches)) for name, of in times.items()}
                ours = ratio(times, "flat", "chunks")
                figures.append({"batch size": batch_size, "order": order, **each, "flat / chunks": ours})
    return figures


def _read_all(read: Callable[[Tensor], Any], batches: list[Tensor]) -> None:
    for rows in batches:
        read(rows)


def cold(args: argparse.Namespace, gigabytes: float) -> dict[str, dict[str, float]]:
    """What `disk_figures` finds of a store of that size."""
    samples = int(gigabytes * 1e9 / 4 / (args.width + args.classes))
    with tempfile.TemporaryDirectory(dir=args.disk_folder) as folder:
        table = written_store(Path(folder), samples, args.width, args.classes)
        return disk_figures(table, args.disk_batch, args.random_rows, args.rounds, args.seed)


def smoke() -> Mapping[str, float]:
    """For the regression guard: a small store from the page cache and from the disk."""
    options = ["--samples", "10000", "--width", "768", "--classes", "100", "--batch-sizes", "256", "--rounds", "2"]
    args = parser().parse_args([*options, "--random-rows", "2000"])
    warm = {f"store: flat / ours, {row['order']}": row["flat / chunks"] for row in measure(args)}
    disk = cold(args, 0.08)
    return warm | {
        f"store: plain disk reads / ours, {order}": of["store over plain reads"] for order, of in disk.items()
    }


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.feature_store", description=(__doc__ or "").splitlines()[0]
    )
    made.add_argument("--samples", type=int, default=50_000, help="(%(default)s)")
    made.add_argument("--width", type=int, default=768, help="features of a sample (%(default)s)")
    made.add_argument("--classes", type=int, default=1000, help="(%(default)s)")
    made.add_argument("--window", type=int, default=1000, help="samples that are shuffled together (%(default)s)")
    made.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], help="(64 256 1024)")
    made.add_argument("--disk", type=float, metavar="GB", help="size of a store that is read from the disk (none)")
    made.add_argument("--disk-folder", type=Path, help="where it is written (the system's for temporary files)")
    made.add_argument("--disk-batch", type=int, default=256, help="its rows that are read at once (%(default)s)")
    made.add_argument("--random-rows", type=int, default=10_000, help="its rows that are read at random (%(default)s)")
    made.add_argument("--rounds", type=int, default=3, help="of reading the disk (%(default)s)")
    add_common_options(made, "runs/benchmarks/feature_store.json")
    return made


def main() -> None:
    """Writes a store, reads it in several orders, and shows what a sample costs."""
    args = parser().parse_args()
    figures = measure(args)
    rows = [
        [f"{row['order']}, {row['batch size']}", *(f"{row[name]:.2f}" for name in ("flat", "chunks", "flat / chunks"))]
        for row in figures
    ]
    columns = ["order, batch", "flat, µs a sample", "chunks, µs", "flat / chunks"]
    show(f"Reading {args.width} features ({machine()})", columns, rows)
    disk = cold(args, args.disk) if args.disk else {}
    for order, of in disk.items():
        show(f"From the disk, {order}", ["", ""], [[name, f"{value:.2f}"] for name, value in of.items()])
    write_figures(args.out, args, {"reading": figures, "disk": disk})


if __name__ == "__main__":
    main()
