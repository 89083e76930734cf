"""What a test run costs beside its explanations: metrics, panels, galleries and contact sheets, one by one.

    python -m benchmarks.evaluation

Runs ``configs/quickstart.yaml`` on rendered flowers and tests its heads in three ways within the same rounds, each by
``train.py test``: with all metrics and callbacks; explaining all images and doing nothing else; and explaining them together
with all else that the network has to run for, which are the masked images, the panel's images, and the maps of the logit in
the panel and the gallery. Prints the ratios, and what each callback and metric takes by itself, and writes one JSON.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import train
from benchmarks.common import machine, show, write_figures
from benchmarks.rounds import ratio, side_by_side
from benchmarks.run_clock import ALL, EXPLAINED, NETWORK, WAYS, Clock
from benchmarks.small_runs import extra_callback
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
SHOWN = 0.002
"""Share of a run below which the table leaves a callback or a metric out."""


def options_of_run(folder: Path, *, views: int, size: int, epochs: int) -> list[str]:
    """Renders flowers and fits the quickstart's heads on them; gives the options of a test.

    Args:
        folder: of the set and of the run.
        views: rendered of each flower, four images of each, a fifth of them to be tested.
        size: of the images in pixels.
        epochs: of the fit.
    """
    settings = FlowerSettings(
        "single-6c", views=views, size=size + 16, crops=2, rotations=2, crop_size=size, supersampling=1
    )
    generate(settings, folder / "flowers", workers=1)
    options = [
        "-c", str(CONFIG), f"--trainer.default_root_dir={folder / 'run'}", f"--trainer.max_epochs={epochs}",
        "--trainer.enable_progress_bar=false", f"--data.init_args.shards={folder / 'flowers'}",
        f"--data.init_args.preprocessing.size={size}", f"--data.init_args.features.folder={folder / 'features'}",
        f"--model.init_args.srae.image_size={size}",
    ]  # fmt: skip
    train.main(["fit", *options])
    return options


def measured(options: list[str], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of the run of each way in each round, and the median seconds of each callback and metric of a whole test."""
    clocks: dict[str, list[Clock]] = {way: [] for way in WAYS}

    def run(way: str) -> None:
        clocks[way].append(Clock(way))
        with extra_callback(clocks[way][-1], alone=way != ALL):
            train.main(["test", *options])

    side_by_side({way: partial(run, way) for way in WAYS}, rounds)
    # Of each, the first is the round that is not counted.
    times = {way: [clock.run for clock in of_way[1:]] for way, of_way in clocks.items()}
    whole = clocks[ALL][1:]
    parts = {name: statistics.median(clock.parts[name] for clock in whole) for name in whole[0].parts}
    return times, dict(sorted(parts.items(), key=lambda part: -part[1]))


def ratios(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Each reference over a whole test."""
    return {f"evaluation: {way} / {ALL}": ratio(times, way, ALL) for way in (EXPLAINED, NETWORK)}


def smoke() -> Mapping[str, float]:
    """The ratios at a small size, see `benchmarks.smoke`."""
    with tempfile.TemporaryDirectory() as folder:
        return ratios(measured(options_of_run(Path(folder), views=5, size=64, epochs=2), rounds=1)[0])


def report(times: Mapping[str, list[float]], parts: Mapping[str, float]) -> None:
    """Prints what a test costs over what it is compared with, and its parts."""
    explained = statistics.median(times[EXPLAINED])
    rows = [
        [
            way,
            f"{statistics.median(of_way):.2f} s",
            *(f"{ratio(times, way, over):.2f}" for over in (EXPLAINED, NETWORK)),
        ]
        for way, of_way in times.items()
    ]
    show(f"Test runs ({machine()})", ["", "time", "over the 2nd", "over the 3rd"], rows)
    kept = [[name, f"{seconds:.3f} s", f"{seconds / explained:.3f}"] for name, seconds in parts.items()
            if seconds >= SHOWN * explained]  # fmt: skip
    show("Parts of the whole test", ["", "time", "over explaining"], kept)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--views", type=int, default=20, help="of each flower, in four images each (%(default)s)")
    parser.add_argument("--size", type=int, default=80, help="side of the images (%(default)s)")
    parser.add_argument("--epochs", type=int, default=50, help="of the fit before (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/evaluation.json"), help="the figures as JSON (%(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = options_of_run(Path(folder), views=args.views, size=args.size, epochs=args.epochs)
        times, parts = measured(options, args.rounds)
    report(times, parts)
    figures: dict[str, Any] = {"ratios": ratios(times), "seconds": times, "parts": parts}
    write_figures(args.out, args, figures)


if __name__ == "__main__":
    main()
