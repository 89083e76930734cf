"""What SRAE heads of C classes cost on kept features: seconds an epoch, memory, and faithfulness.

    python -m benchmarks.srae_scale

Four ways are compared: a module a class, fitted one after the other in plain PyTorch with Adam as it comes; SRAEModule in
groups of classes, in float32 and in bf16-mixed; and SRAEModule with one trunk for all classes. Features are random, of low
rank with noise; logits depend on them. Seconds are those of one group of classes, from which those of all groups, which do
the same work, are told by their number ("told, ×"); with --full, all groups are timed. Memory is that of all C heads and
groups, for two batches of each, in a process of its own, beside what the data and the libraries take. Faithfulness of bf16
is judged by the spread of float32 over seeds; a shared trunk may have more epochs, which count. Prints tables and writes one
JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.common import add_common_options, machine, write_figures
from benchmarks.srae_scale.measures import memory_of, quality_of, timings_of
from benchmarks.srae_scale.problem import BFLOAT16, FLOAT32, PLAIN, SHARED, WAYS, Settings
from benchmarks.srae_scale.report import (
    Goal,
    memory_goals,
    quality_goals,
    show_goals,
    show_memories,
    show_qualities,
    show_timings,
    speed_goals,
)

PARTS = ("time", "memory", "quality")


def settings_of(args: argparse.Namespace) -> Settings:
    """What the options say."""
    return Settings(
        features=args.features,
        hidden=tuple(args.hidden),
        trunk_hidden=tuple(args.trunk_hidden),
        num_features=args.num_features,
        rows=args.rows,
        held_out=args.held_out,
        batch_size=args.batch_size,
        at_once=args.at_once,
        device=args.device,
        seed=args.seed,
    )


def measure_time(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], list[Goal]]:
    """Seconds an epoch."""
    found = []
    for classes in _tracked(args.classes, "seconds an epoch"):
        found += timings_of(
            classes,
            list(WAYS),
            settings,
            rounds=args.rounds,
            epochs=args.epochs,
            warm=args.warm_batches,
            full=args.full,
        )
    show_timings(found, f"{settings.rows} rows of {settings.features} ({machine()})")
    return {"timings": [asdict(one) | {"whole": one.whole} for one in found]}, speed_goals(
        found, args.quality_epochs, args.trunk_epochs
    )


def measure_memory(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], list[Goal]]:
    """Bytes."""
    cases = [(way, classes) for classes in args.classes for way in args.memory_ways]
    found = [memory_of(way, classes, settings) for way, classes in _tracked(cases, "memory")]
    show_memories(found, f"groups of {settings.at_once}")
    return {"memory": [asdict(one) | {"rest": one.rest} for one in found]}, memory_goals(found, settings.at_once)


def measure_quality(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, Any], list[Goal]]:
    """Faithfulness, of few classes and of many."""
    few, many = args.quality_classes
    cases = [(way, few) for way in (PLAIN, FLOAT32, BFLOAT16)] + [(way, many) for way in (FLOAT32, SHARED)]
    seeds = range(args.seed, args.seed + args.seeds)
    epochs = dict.fromkeys(WAYS, args.quality_epochs) | {SHARED: args.trunk_epochs}
    found = [
        quality_of(way, classes, args.quality_heads, settings, epochs=epochs[way], seeds=seeds)
        for way, classes in _tracked(cases, "faithfulness")
    ]
    show_qualities(found)
    return {"quality": [asdict(one) for one in found]}, quality_goals(found)


def _tracked(cases: Sequence[Any], told: str) -> Any:
    return track(cases, description=told, console=Console(stderr=True))


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Measures all parts, and returns the figures."""
    args = parser().parse_args(arguments)
    settings = settings_of(args)
    figures: dict[str, Any] = {"ways": WAYS}
    goals: list[Goal] = []
    for part, measure in zip(PARTS, (measure_time, measure_memory, measure_quality), strict=True):
        if part not in args.skip:
            found, judged = measure(args, settings)
            figures |= found
            goals += judged
            write_figures(args.out, args, figures | {"goals": [goal._asdict() for goal in goals]})
    show_goals(goals)
    return figures | {"goals": goals}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.srae_scale", description=__doc__, allow_abbrev=False)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--classes", type=int, nargs="+", default=[1, 16, 64, 200], help="every C (1 16 64 200)")
    options.add_argument("--hidden", type=int, nargs="+", default=[800, 100], help="widths of the encoders (800 100)")
    options.add_argument("--trunk-hidden", type=int, nargs="+", default=[800, 400], help="of a shared trunk (800 400)")
    options.add_argument("--full", action="store_true", help="time heads of all classes, not of one group")
    options.add_argument("--skip", nargs="*", choices=PARTS, default=[], help="parts to leave out")
    options.add_argument("--memory-ways", nargs="+", choices=WAYS, default=list(WAYS), help="whose memory is measured")
    options.add_argument(
        "--quality-classes", type=int, nargs=2, default=[16, 200], help="C of separate heads, and of a trunk (16 200)"
    )
    for name, default, told in (
        ("features", 4096, "d, size of the features"),
        ("num-features", 5, "n, x-features a class"),
        ("rows", 512, "training samples"),
        ("held-out", 4096, "samples that faithfulness is measured on"),
        ("batch-size", 64, "samples a step"),
        ("at-once", 16, "classes of a group"),
        ("rounds", 3, "rounds of timing"),
        ("epochs", 1, "timed epochs a round"),
        ("warm-batches", 2, "batches before them, which are not timed"),
        ("quality-heads", 4, "classes that faithfulness is measured on, the first ones"),
        ("quality-epochs", 10, "epochs before it"),
        ("trunk-epochs", 40, "the same for the shared trunk, whose epochs are cheap"),
        ("seeds", 3, "fits for it"),
    ):
        options.add_argument(f"--{name}", type=int, default=default, help=f"{told} (%(default)s)")
    add_common_options(options, "runs/benchmarks/srae_scale.json")
    return options


if __name__ == "__main__":
    main()
