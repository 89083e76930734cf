"""Folders of runs as ``train.py test`` leaves them, without a test."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

Row = tuple[str, str, Mapping[str, float]]
"""Key, target, and values by figure."""


def write_run(
    folder: Path,
    name: str,
    rows: Sequence[Row] = (),
    *,
    figures: Mapping[str, float] | None = None,
    examples: bool = False,
    **evaluation: Any,
) -> Path:
    """Writes a run's files; figures that are not given are the means of the rows, over classes for the pointing game."""
    folder.mkdir(parents=True)
    columns = list(dict.fromkeys(figure for _, _, values in rows for figure in values))
    means = {figure: mean_of(rows, figure) for figure in columns} | dict(figures or {})
    written = {f"test/{figure}": None if math.isnan(value) else value for figure, value in means.items()}
    (folder / "metrics.json").write_text(json.dumps(written))
    document = {"name": name, "explainer": "Explainer", "data": "FlowerDataModule", "explain": "label", "settings": {}}
    keys = list(dict.fromkeys(key for key, _, _ in rows))
    (folder / "evaluation.json").write_text(json.dumps({**document, "images": len(keys), "curves": {}, **evaluation}))
    if rows:
        write_rows(folder / "per_image.csv", columns, rows)
    if examples:
        write_examples(folder / "examples.safetensors", keys[:12], seed=len(name))
    return folder


def mean_of(rows: Sequence[Row], figure: str) -> float:
    """The mean over the rows that have a value; over classes, of the means of their rows, for the pointing game."""
    by_class: dict[str, list[float]] = {}
    for _, target, values in rows:
        if not math.isnan(values.get(figure, math.nan)):
            group = target if figure.startswith("pointing_game") else ""
            by_class.setdefault(group, []).append(values[figure])
    means = [sum(values) / len(values) for values in by_class.values()]
    return sum(means) / len(means) if means else math.nan


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "target", *columns])
        for key, target, values in rows:
            numbers = [values.get(figure, math.nan) for figure in columns]
            writer.writerow([key, target, *("" if math.isnan(value) else f"{value:.9g}" for value in numbers)])


def write_examples(path: Path, keys: Sequence[str], seed: int, size: tuple[int, int] = (24, 32)) -> None:
    """Images that are the same for all runs, and maps of one spot each, whose place the seed gives."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = torch.stack([torch.stack([x * 8, y * 8, torch.full_like(x, 20 * n)]) for n in range(len(keys))])
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0.2, 0.8, (len(keys), 2))
    maps = [torch.exp(-((y - cy * height) ** 2 + (x - cx * width) ** 2) / 20) for cy, cx in centres]
    sample = {"keys": list(keys), "targets": [f"class {n % 3}" for n in range(len(keys))]}
    tensors = {"images": images.clamp(0, 255).to(torch.uint8), "maps": torch.stack(maps).half()}
    save_file(tensors, path, metadata={"sample": json.dumps(sample)})


def random_rows(images: int, seed: int, shift: float = 0.0, figures: Sequence[str] = ("iou",)) -> list[Row]:
    """One row an image of normal values about ``shift``, in three classes; images differ in the same way for all seeds."""
    of_image = np.random.default_rng(0).normal(size=(images, len(figures)))
    own = np.random.default_rng(seed + 1).normal(scale=0.5, size=(images, len(figures)))
    values = of_image + own + shift
    return [
        (f"image/{n:04d}", f"class {n % 3}", dict(zip(figures, map(float, values[n]), strict=True)))
        for n in range(images)
    ]
