"""Measures the rows of a table, one after the other."""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.localization.images import batches, fingerprint
from benchmarks.localization.methods import Row, whole_image_ious
from benchmarks.localization.outcomes import Outcomes, figures, tuned
from benchmarks.localization.report import FiguresFile
from benchmarks.localization.subjects import Subject
from benchmarks.method_maps import smoothed, spread, timed_maps
from benchmarks.method_table import Entry
from vitrine.data.shards.sample import Sample
from vitrine.metrics.functional.localization import LOCALIZATION_ALPHAS


def measure_all(subject: Subject, kept: FiguresFile, args: argparse.Namespace) -> None:
    """Measures what the file does not have, and writes it after each row."""
    settings = subject.settings | {"measured": fingerprint(subject.images.measured)}
    if not kept.is_of(subject, settings):
        kept.begin(subject, {"layer": subject.layer, "accuracy": subject.accuracy(args), "settings": settings})
    for name, row in subject.rows.items():
        tuning, measured = _samples(subject, row, args)
        seen = {"tuning": fingerprint(tuning), "measured": fingerprint(measured)}
        settings = _settings(subject, row, args) | seen
        if not kept.has(subject, name, settings):
            found = _figures(name, subject, tuning, measured, args)
            kept.put(subject, name, found | {"settings": settings})


def _samples(subject: Subject, row: Row, args: argparse.Namespace) -> tuple[list[Sample], list[Sample]]:
    """What a row is tuned on and measured on."""
    tuning, measured = (args.slow_tuning, args.slow_images) if row and row.slow else (0, 0)
    return spread(subject.images.tuning, tuning), spread(subject.images.measured, measured)


def _settings(subject: Subject, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """What a row's figures depend on."""
    own = {"options": row.options, "blur": args.blur if row.blurred else 0.0} if row else {"options": {}, "blur": 0.0}
    of_run = {name: getattr(args, name) for name in ("seed", "device", "bf16", "slow_images", "component")}
    return subject.settings | own | of_run


def _figures(
    name: str, subject: Subject, tuning: Sequence[Sample], measured: Sequence[Sample], args: argparse.Namespace
) -> dict[str, Any]:
    """The figures of a row, or why its method was refused."""
    row = subject.rows[name]
    # Those of the measured images that slow methods see too: all that such a method was given.
    compared = range(len(measured)) if row and row.slow else spread(range(len(measured)), args.slow_images)
    try:
        outcomes = (
            (_of_boxes(tuning, subject), _of_boxes(measured, subject))
            if row is None
            else _of_method(name, row, tuning, measured, subject, args)
        )
    except ValueError as error:
        return {"refused": str(error)}
    found = figures(*outcomes, compared)
    return found | {"pointing": found["pointing"] if row else None}


def _of_method(
    name: str,
    entry: Entry,
    tuning: Sequence[Sample],
    measured: Sequence[Sample],
    subject: Subject,
    args: argparse.Namespace,
) -> tuple[Outcomes, Outcomes]:
    """Of the tuning images, and of the measured ones."""
    method = entry.build(subject.model, subject.layer, args.seed)

    def outcomes_of(samples: Sequence[Sample], alphas: Sequence[float], title: str) -> Outcomes:
        read = batches(samples, subject.preprocessing, args.batch_size)
        count, parts = -(-len(samples) // args.batch_size), []
        for part in track(read, f"{subject.title}: {name}, {title}", count, console=Console(stderr=True)):
            images, labels = part.images.to(args.device), part.labels.to(args.device)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=args.bf16):
                maps, seconds = timed_maps(entry, method, images, labels)
            maps = smoothed(maps, args.blur if entry.blurred else 0.0)
            parts.append(Outcomes.of_maps(maps, part.boxes, seconds, alphas))
        return Outcomes.cat(parts)

    found = outcomes_of(tuning, LOCALIZATION_ALPHAS if args.component else [], "tuning")
    alphas = [LOCALIZATION_ALPHAS[tuned(found.component_ious)]] if args.component else []
    return found, outcomes_of(measured, alphas, "measured")


def _of_boxes(samples: Sequence[Sample], subject: Subject) -> Outcomes:
    """Compares the whole of all images."""
    size = subject.preprocessing.size
    boxes = [box for part in batches(samples, subject.preprocessing, 1) for box in part.boxes]
    return Outcomes.of_ious(whole_image_ious(boxes, size))
