"""Generates a variant of an8Flower: renders it and writes it as train and test shards."""

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine.core.atomic_io import check_vacant
from vitrine.core.options import CountOrZero, checked
from vitrine.data.an8flower.augmentation import Crop, crop_samples, make_crops
from vitrine.data.an8flower.camera import View
from vitrine.data.an8flower.frames import colour, part_mask, resolve, tight_box
from vitrine.data.an8flower.renderer import Layer, Renderer
from vitrine.data.an8flower.scene import build_scene
from vitrine.data.an8flower.settings import SETTINGS_FILE, FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, Part
from vitrine.data.shards.pool import Advance, run_tasks
from vitrine.data.shards.sample import Sample
from vitrine.data.shards.schema import INDEX_FILE
from vitrine.data.shards.writer import write_shards

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ViewTask:
    """One view to render, for all classes."""

    settings: FlowerSettings
    view: int
    folder: Path
    """Folder for the images and masks."""


@checked
def generate(
    settings: FlowerSettings, out: Path, *, workers: CountOrZero | None = None, if_missing: bool = False
) -> list[Path]:
    """Writes ``out/train``, ``out/test`` and ``out/settings.json``; equal settings produce equal bytes.

    Args:
        settings: what to render.
        out: folder of both splits.
        workers: number of processes; 0 and 1 work in this one, None uses one for each CPU.
        if_missing: whether existing splits with the same settings are kept.

    Returns:
        Folders of the splits that were written.

    Raises:
        FileExistsError: where a split exists and ``if_missing`` is off.
        FileNotFoundError: for existing splits without recorded settings.
        OptionError: for a negative number of workers.
        ValueError: for existing splits with other settings.
    """
    splits = _missing(settings, out) if if_missing else list(SPLITS)
    for split in splits:
        check_vacant(out / split)
    if not splits:
        return []
    out.mkdir(parents=True, exist_ok=True)
    settings.write(out)
    workers = (os.cpu_count() or 1) if workers is None else workers
    with tempfile.TemporaryDirectory(prefix=".rendered-", dir=out) as folder:
        samples = _render(settings, splits, Path(folder), workers)
        for split in splits:
            _write_split(settings, split, samples, out, workers)
    return [out / split for split in splits]


def _missing(settings: FlowerSettings, out: Path) -> list[str]:
    present = [split for split in SPLITS if (out / split / INDEX_FILE).is_file()]
    if present or (out / SETTINGS_FILE).is_file():
        settings.check_same(out)
    return [split for split in SPLITS if split not in present]


def _render(settings: FlowerSettings, splits: Sequence[str], folder: Path, workers: int) -> dict[int, list[Sample]]:
    """The samples of each view of the splits."""
    views = [view for split in splits for view in settings.views_of(split)]
    classes = VARIANTS[settings.variant]
    rendered = run_tasks(
        render_view,
        [ViewTask(settings, view, folder) for view in views],
        workers=workers,
        total=len(views) * len(classes) * settings.crops * settings.rotations,
        title=f"an8flower-{settings.variant}: rendering",
    )
    return dict(zip(views, rendered, strict=True))


def _write_split(
    settings: FlowerSettings, split: str, samples: Mapping[int, Sequence[Sample]], out: Path, workers: int
) -> None:
    write_shards(
        [sample for view in settings.views_of(split) for sample in samples[view]],
        out / split,
        dataset=f"an8flower-{settings.variant}",
        split=split,
        classes=[flower.name for flower in VARIANTS[settings.variant]],
        annotations=["boxes", "mask"],
        workers=workers,
        seed=settings.seed,
    )


def cast_views(settings: FlowerSettings, view: int) -> dict[frozenset[Part], Layer]:
    """Renders one view for each set of extras of the variant's classes: once, where no class has any."""
    renderer = _renderer(settings.seed)
    position = View(360 * view / settings.views, settings.size, settings.supersampling)
    return renderer.cast(position, {flower.extras for flower in VARIANTS[settings.variant]})


def render_frame(settings: FlowerSettings, view: int, label: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One frame before augmentation: image (H, W, 3) and mask (H, W)."""
    flower = VARIANTS[settings.variant][label]
    layer = cast_views(settings, view)[flower.extras]
    image = resolve(colour(layer, flower.palette), settings.supersampling)
    return image, part_mask(layer.part, flower.part, settings.supersampling)


def render_view(task: ViewTask, advance: Advance) -> list[Sample]:
    """Renders one view for all classes, crops and rotations to PNG files in the task's folder."""
    layers = cast_views(task.settings, task.view)
    samples = []
    for label, flower in enumerate(VARIANTS[task.settings.variant]):
        linear = colour(layers[flower.extras], flower.palette)
        parts = layers[flower.extras].part
        for crop in _crops(task.settings):
            samples.append(_write_sample(task, label, crop, linear, parts))
            advance()
    return samples


def _write_sample(
    task: ViewTask, label: int, crop: Crop, linear: NDArray[np.uint16], parts: NDArray[np.uint8]
) -> Sample:
    s, flower = task.settings.supersampling, VARIANTS[task.settings.variant][label]
    mask = part_mask(crop_samples(parts, crop, s), flower.part, s)
    box = tight_box(mask)
    key = f"{flower.name}-view{task.view:04d}-{crop.name}"
    return Sample(
        key=key,
        image=_save(resolve(crop_samples(linear, crop, s), s), task.folder / f"{key}.png"),
        label=label,
        boxes=[] if box is None else [box],
        mask=_save(mask.astype(np.uint8) * 255, task.folder / f"{key}.mask.png"),
        extra={"view": task.view, "crop": crop.place, "rotation": crop.degrees},
    )


def _crops(settings: FlowerSettings) -> list[Crop]:
    return make_crops(settings.size, settings.crop_size, settings.crops, settings.rotations)


def _save(pixels: NDArray[np.uint8], path: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    path.write_bytes(buffer.getvalue())
    return path


@lru_cache(maxsize=1)
def _renderer(seed: int) -> Renderer:
    return Renderer(build_scene(seed))
