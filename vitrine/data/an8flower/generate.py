"""Generates a variant of an8Flower: renders it and writes it as train and test shards."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitrine.core.atomic_io import check_vacant
from vitrine.core.options import CountOrZero, checked
from vitrine.data.an8flower.augmentation import Crop, crop_samples, make_crops
from vitrine.data.an8flower.camera import View
from vitrine.data.an8flower.frames import colour, part_map, part_mask, resolve, tight_box
from vitrine.data.an8flower.renderer import Layer, Renderer
from vitrine.data.an8flower.scene import build_scene
from vitrine.data.an8flower.settings import SETTINGS_FILE, FlowerSettings
from vitrine.data.an8flower.variants import VARIANTS, FlowerClass, Part, removable_parts
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
    removed = _removed_parts(settings, split)
    write_shards(
        [sample for view in settings.views_of(split) for sample in samples[view]],
        out / split,
        dataset=f"an8flower-{settings.variant}",
        split=split,
        classes=[flower.name for flower in VARIANTS[settings.variant]],
        annotations=sorted(["boxes", "mask", *(("counterfactuals", "objects") if removed else ())]),
        object_names=[part.name.lower() for part in removed] or None,
        workers=workers,
        seed=settings.seed,
    )


def _removed_parts(settings: FlowerSettings, split: str) -> tuple[Part, ...]:
    """The parts without which the images of a split are rendered once more."""
    return removable_parts(VARIANTS[settings.variant]) if settings.without_parts and split == "test" else ()


def cast_views(settings: FlowerSettings, view: int, removed: Part | None = None) -> dict[frozenset[Part], Layer]:
    """Renders one view for each set of extras of the variant's classes: once, where no class has any.

    Args:
        settings: of the set.
        view: index of the view.
        removed: part that the plant lacks; its key stays in the sets of extras.
    """
    renderer = _renderer(settings.seed, removed)
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
    split = "test" if task.view in task.settings.views_of("test") else "train"
    layers = cast_views(task.settings, task.view)
    without = {part: cast_views(task.settings, task.view, part) for part in _removed_parts(task.settings, split)}
    samples = []
    for label, flower in enumerate(VARIANTS[task.settings.variant]):
        frames = _Frames.of_class(flower, layers, without)
        for crop in _crops(task.settings):
            samples.append(_write_sample(task, label, crop, frames))
            advance()
    return samples


@dataclass(frozen=True)
class _Frames:
    """The sub-samples of a view, coloured for one class."""

    linear: NDArray[np.uint16]
    """(n, n, 3) linear light."""
    parts: NDArray[np.uint8]
    """(n, n) ids of the parts."""
    without: dict[Part, NDArray[np.uint16]]
    """(n, n, 3) linear light of the plant without each removed part."""

    @classmethod
    def of_class(
        cls,
        flower: FlowerClass,
        layers: Mapping[frozenset[Part], Layer],
        without: Mapping[Part, Mapping[frozenset[Part], Layer]],
    ) -> "_Frames":
        coloured = {part: colour(of_part[flower.extras], flower.palette) for part, of_part in without.items()}
        return cls(colour(layers[flower.extras], flower.palette), layers[flower.extras].part, coloured)


def _write_sample(task: ViewTask, label: int, crop: Crop, frames: _Frames) -> Sample:
    s, flower = task.settings.supersampling, VARIANTS[task.settings.variant][label]
    parts = crop_samples(frames.parts, crop, s)
    mask = part_mask(parts, flower.part, s)
    box = tight_box(mask)
    key = f"{flower.name}-view{task.view:04d}-{crop.name}"
    path, removed = task.folder / key, list(frames.without)
    return Sample(
        key=key,
        image=_save(resolve(crop_samples(frames.linear, crop, s), s), Path(f"{path}.png")),
        label=label,
        boxes=[] if box is None else [box],
        mask=_save(mask.astype(np.uint8) * 255, Path(f"{path}.mask.png")),
        objects=_save(part_map(parts, removed, s), Path(f"{path}.objects.png")) if removed else None,
        counterfactuals=list(_counterfactuals(frames, crop, s, path)) if removed else None,
        extra={"view": task.view, "crop": crop.place, "rotation": crop.degrees},
    )


def _counterfactuals(frames: _Frames, crop: Crop, supersampling: int, path: Path) -> Iterator[Path]:
    for part, linear in frames.without.items():
        pixels = resolve(crop_samples(linear, crop, supersampling), supersampling)
        yield _save(pixels, Path(f"{path}.without-{part.name.lower()}.png"))


def _crops(settings: FlowerSettings) -> list[Crop]:
    return make_crops(settings.size, settings.crop_size, settings.crops, settings.rotations)


def _save(pixels: NDArray[Any], path: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    path.write_bytes(buffer.getvalue())
    return path


@lru_cache(maxsize=len(Part))
def _renderer(seed: int, removed: Part | None = None) -> Renderer:
    scene = build_scene(seed)
    return Renderer(scene if removed is None else scene.without(removed))
