"""Many tiny samples in many shards, read once over ranks and workers: distinct keys, memory, open files, shuffle quality.

    python -m benchmarks.stream_scale --samples 1000000 --shards 1000

Prints a table and writes one JSON. Ranks are processes without a process group. Memory is the resident memory of a rank and
its workers; its slope is fitted to the last two thirds of the epoch.
"""

import argparse
import io
import json
import multiprocessing
import tarfile
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from typing_extensions import override

from benchmarks.common import machine, show, write_figures
from datamodules.damaged import SkipCounter
from datamodules.epoch_order import EpochOrder
from datamodules.options import LoadingOptions
from datamodules.ranks import RankShare
from datamodules.split import Rows, Split
from datamodules.trainer_progress import TrainerProgress
from datamodules.training import ImageLoading
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.schema import INDEX_FILE, ShardEntry, ShardIndex

PROBES = 60
"""Measurements of memory and open files in an epoch."""


class ShuffleQuality(NamedTuple):
    """How far an order is from the set's own order.

    A full permutation of n samples has a displacement of 1/3 (± 0.3 / √n) and a ``same_shard`` of the shard's size over n.
    Windows of 100,000 of 10⁶ samples in shards of 1,000 have 0.33 and 0.01, where a full permutation has 0.001: ten times as
    many neighbours of one shard, one in a hundred.
    """

    displacement: float
    """Mean distance of a sample from its place in the set, over the size of the set."""
    same_shard: float
    """Share of consecutive samples that come from one shard."""


def shuffle_quality(order: Rows, shard_size: int) -> ShuffleQuality:
    """Measures the order of a set whose shards hold ``shard_size`` samples each."""
    displacement = np.abs(order - np.arange(len(order))).mean() / len(order)
    shards = order // shard_size
    return ShuffleQuality(float(displacement), float((shards[1:] == shards[:-1]).mean()))


def write_set(folder: Path, samples: int, shards: int) -> Path:
    """A split of one-coloured images of 4 pixels a side, whose keys are their rows."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (10, 200, 30)).save(buffer, "PNG")
    record = json.dumps({"label": 0, "width": 4, "height": 4}).encode()
    entries, sizes = [], [len(part) for part in np.array_split(np.arange(samples), shards)]
    folder.mkdir(parents=True)
    row = 0
    for number, size in enumerate(sizes):
        name = f"shard-{number:06d}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for _ in range(size):
                for extension, data in (("png", buffer.getvalue()), ("json", record)):
                    member = tarfile.TarInfo(f"{row:09d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                row += 1
        entries.append(ShardEntry(name, size, "0" * 64))
    index = ShardIndex(
        "tiny",
        "train",
        ["all"],
        multi_label=False,
        annotations=[],
        count=samples,
        class_counts=[samples],
        shards=entries,
    )
    (folder / INDEX_FILE).write_text(index.to_json(), encoding="utf-8")
    return folder


class AsStored(Preprocessing):
    """Leaves images as they are, since what is measured is how they are read."""

    @override
    def sample(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        return dict(sample)


class Probe(NamedTuple):
    """Of a rank and its workers."""

    samples: int
    megabytes: float
    most_open_files: int
    """Of any of these processes, without those that every process has."""


def probe(samples: int) -> Probe:
    """Looks at this process and its children."""
    pids = [multiprocessing.current_process().pid, *(child.pid for child in multiprocessing.active_children())]
    kilobytes, most = 0, 0
    for folder in (Path("/proc", str(pid)) for pid in pids):
        status = (folder / "status").read_text(encoding="utf-8")
        kilobytes += int(status.partition("VmRSS:")[2].split()[0])
        tars = sum(path.readlink().suffix == ".tar" for path in (folder / "fd").iterdir() if path.is_symlink())
        most = max(most, tars)
    return Probe(samples, kilobytes / 1000, most)


def read(rank: int, args: argparse.Namespace, folder: Path, results: "SimpleQueue[Any]") -> None:
    """Reads a rank's share of an epoch; gives how often each row came, and the probes."""
    options = LoadingOptions(args.batch_size, args.workers, args.window, args.seed)
    loading = ImageLoading(AsStored(), options, RankShare(rank, args.ranks), SkipCounter())
    split = Split.read(folder)
    loader = loading.epochs(split, split.every_sample(), TrainerProgress(None))
    seen, probes, samples = np.zeros(args.samples, dtype=np.uint8), [], 0
    every = max(len(loader) // PROBES, 1)
    for number, batch in enumerate(loader):
        np.add.at(seen, np.array(batch["key"], dtype=np.int64), 1)
        samples += len(batch["key"])
        if number % every == every - 1:
            probes.append(probe(samples))
    results.put((seen, probes))


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One epoch on all ranks."""
    context = multiprocessing.get_context("fork")
    results: SimpleQueue[Any] = context.SimpleQueue()
    started = time.perf_counter()
    ranks = [context.Process(target=read, args=(rank, args, folder, results)) for rank in range(args.ranks)]
    for rank in ranks:
        rank.start()
    found = [results.get() for _ in ranks]
    seconds = time.perf_counter() - started
    for rank in ranks:
        rank.join()
    seen = np.sum([of_rank for of_rank, _ in found], axis=0)
    order = EpochOrder(np.arange(args.samples), args.seed, args.window, Split.read(folder).first_rows).of_epoch(0)
    return {
        "distinct keys": int((seen > 0).sum()),
        "keys that came twice": int((seen > 1).sum()),
        "samples/s": args.samples / seconds,
        "MB of a rank and its workers": max(one.megabytes for _, probes in found for one in probes),
        "slope (MB per 100,000 samples of a rank)": max(slope(probes) for _, probes in found),
        "most open shards in a process": max(one.most_open_files for _, probes in found for one in probes),
        **shuffle_quality(order, args.samples // args.shards)._asdict(),
        "probes": [[list(one) for one in probes] for _, probes in found],
    }


def slope(probes: list[Probe]) -> float:
    """Megabytes per 100,000 samples, over the last two thirds."""
    settled = probes[len(probes) // 3 :]
    if len(settled) < 2:
        return 0.0
    fitted = np.polyfit([one.samples for one in settled], [one.megabytes for one in settled], 1)
    return float(fitted[0]) * 100_000


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000, help="in the set (%(default)s)")
    parser.add_argument("--shards", type=int, default=50, help="of the set (%(default)s)")
    parser.add_argument("--ranks", type=int, default=2, help="processes that read (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="of each rank (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=256, help="of each rank (%(default)s)")
    parser.add_argument("--window", type=int, default=100_000, help="samples shuffled together (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/stream_scale.json"), help="(%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(args, write_set(Path(folder) / "train", args.samples, args.shards))
    rows = [[name, f"{value:,.6g}"] for name, value in figures.items() if name != "probes"]
    show(
        f"{args.samples:,} samples in {args.shards:,} shards, {args.ranks} x {args.workers} ({machine()})",
        ["", ""],
        rows,
    )
    write_figures(args.out, args, figures)


if __name__ == "__main__":
    main()
