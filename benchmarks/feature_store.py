"""Reading a feature store: microseconds a sample from mapped chunks, against one flat memory-mapped array.

    python -m benchmarks.feature_store --samples 100000 --width 768 --classes 1000

Batches are of consecutive samples, of samples drawn from windows of consecutive ones, and of samples drawn from all.
The figures are processor time of the fastest of several passes over the same batches, which are in the page cache.
Prints a table and writes one JSON.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import add_common_options, machine, show, write_figures
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


def microseconds(read: Callable[[Tensor], Any], batches: list[Tensor]) -> float:
    """Processor time a sample of the fastest pass over the batches."""
    times = []
    for _ in range(PASSES):
        start = time.process_time()
        for rows in batches:
            read(rows)
        times.append(time.process_time() - start)
    return 1e6 * min(times) / sum(map(len, batches))


def _keys(rows: Tensor) -> list[str]:
    return [f"train_{row:08d}" for row in rows.tolist()]


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Microseconds a sample of both ways, for each order and size of batches."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        table = written_store(Path(folder), args.samples, args.width, args.classes)
        readers = {"flat": flat_reader(Path(folder), table), "chunks": table.batch}
        for batch_size in args.batch_sizes:
            for order, rows in orders(args.samples, args.window, args.seed).items():
                batches = list(torch.split(rows, batch_size)[:BATCHES])
                times = {name: microseconds(read, batches) for name, read in readers.items()}
                figures.append({"batch size": batch_size, "order": order, **times})
    return figures


def main() -> None:
    """Writes a store, reads it in several orders, and shows what a sample costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feature_store", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000, help="(%(default)s)")
    parser.add_argument("--width", type=int, default=768, help="features of a sample (%(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="(%(default)s)")
    parser.add_argument("--window", type=int, default=1000, help="samples that are shuffled together (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256, 1024], help="(64 256 1024)")
    add_common_options(parser, "runs/benchmarks/feature_store.json")
    args = parser.parse_args()
    figures = measure(args)
    rows = [[f"{row['order']}, {row['batch size']}", f"{row['flat']:.2f}", f"{row['chunks']:.2f}"] for row in figures]
    show(f"Reading {args.width} features ({machine()})", ["order, batch", "flat, µs a sample", "chunks, µs"], rows)
    write_figures(args.out, args, {"reading": figures})


if __name__ == "__main__":
    main()
