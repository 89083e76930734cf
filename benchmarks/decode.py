"""Time from the bytes of a JPEG in a tar to a normalised batch, over that of the best bare decoder, and of each stage.

    python -m benchmarks.decode --images data/CUB_200_2011/images

Without --images, JPEGs like photographs of about 86 kB are made. One thread. Prints two tables and writes one JSON.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bare_decoders import RESIZE, SIZE, Decoder, decoders
from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.pictures import write_files, write_photographs
from benchmarks.rounds import Run, ratio, side_by_side
from datamodules.samples import Sample, collate
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from vitrine.data.preprocessing import Preprocessing

OURS = "bytes in a tar → normalised batch"


def bare_runs(data: Sequence[bytes], bare: Mapping[str, Decoder]) -> dict[str, Run]:
    """All pictures through each bare decoder."""

    def run(decode: Decoder) -> Run:
        return lambda: [decode(one) for one in data]

    return {f"bare: {name}": run(decode) for name, decode in bare.items()}


class Stages:
    """The stages of the sample path, each over the same samples, from what the stage before it gave.

    Args:
        images: of a split, of which those are read that are stored as JPEGs.
        batch_size: samples of a batch.
    """

    def __init__(self, images: ShardImages, batch_size: int) -> None:
        self.images = images
        samples = [images.split.raw_sample(row) for row in range(len(images))]
        self.raw = [one for one in samples if "jpg" in one]
        self.decoded = [images.split.decode(one) for one in self.raw]
        self.placed = [images.preprocessing.placed(one) for one in self.decoded]
        self.groups = [self.placed[n : n + batch_size] for n in range(0, len(self.placed), batch_size)]
        rows = [one["row"] for one in self.raw]
        self.rows = [rows[n : n + batch_size] for n in range(0, len(rows), batch_size)]
        self.batches = [collate(group) for group in self.groups]

    def runs(self) -> dict[str, Run]:
        """By name, the whole path first."""
        images, preprocessing = self.images, self.images.preprocessing
        return {
            OURS: lambda: [images.finished(collate(self.read(rows))) for rows in self.rows],
            "· read from the tar": lambda: [images.split.raw_sample(one["row"]) for one in self.raw],
            "· check and decode": lambda: [images.split.decode(one) for one in self.raw],
            "· resize and crop": lambda: [preprocessing.placed(one) for one in self.decoded],
            "· put into batches": lambda: [collate(group) for group in self.groups],
            "· normalise": lambda: [images.finished(batch) for batch in self.batches],
        }

    def read(self, rows: Sequence[int]) -> list[Sample]:
        """Samples as a loader asks for them."""
        samples: Any = self.images.__getitems__(rows)
        return list(samples)


def measure(shards: Path, batch_size: int, rounds: int, bare: Mapping[str, Decoder]) -> dict[str, Any]:
    """Microseconds an image of each bare decoder and of our stages, and our whole path over the best bare decoder."""
    split = Split.read(shards / "train")
    stages = Stages(ShardImages(split, Preprocessing(SIZE, RESIZE)), batch_size)
    data = [one["jpg"] for one in stages.raw]
    runs = bare_runs(data, bare) | stages.runs()
    times = side_by_side(runs, rounds)
    micros = {name: 1e6 * statistics.median(taken) / len(stages.raw) for name, taken in times.items()}
    best = min((name for name in micros if name.startswith("bare")), key=micros.__getitem__)
    return {"microseconds an image": micros, "best bare": best, "ours over best bare": ratio(times, OURS, best)}


def jpegs(folder: Path, count: int, seed: int) -> list[Path]:
    """JPEG files below a folder, drawn by a seed.

    Raises:
        FileNotFoundError: where there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    if not files:
        raise FileNotFoundError(f"--images {folder} holds no JPEGs; name a folder with some.")
    random.Random(seed).shuffle(files)  # noqa: S311
    return files[:count]


def smoke() -> Mapping[str, float]:
    """The best bare decoder's time over that of the whole path."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bare = {name: decode for name, decode in decoders().items() if name == "torchvision"}
            found = measure(write_photographs(Path(folder), 64), 32, 5, bare)
    finally:
        torch.set_num_threads(threads)
    return {"decode: bare decoder / ours": 1 / found["ours over best bare"]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs (made like photographs)")
    parser.add_argument("--count", type=int, default=128, help="images (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="that are counted (%(default)s)")
    add_common_options(parser, "runs/benchmarks/decode.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if args.images:
            shards = write_files(Path(folder), jpegs(args.images, args.count, args.seed))
        else:
            shards = write_photographs(Path(folder), args.count)
        found = measure(shards, args.batch_size, args.rounds, decoders())
    rows = [[name, f"{micros:.0f}"] for name, micros in found["microseconds an image"].items()]
    rows.append([f"ours over {found['best bare']}", f"{found['ours over best bare']:.3f}"])
    show(f"From a JPEG to the network's input ({machine()})", ["", "µs an image"], rows)
    write_figures(args.out, args, found)


if __name__ == "__main__":
    main()
