"""PartProbabilities: shares of x-features on parts, as a table and pictures (Qi et al., figures 6 and 7)."""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from typing_extensions import override

from callbacks.candidates import Candidates, Shares, place_of
from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.csv_tables import write_csv_table
from vitrine.core.options import Count, checked
from vitrine.metrics.functional import voronoi_part_probabilities
from vitrine.metrics.functional.locality import pixel_probabilities, voronoi_weights
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import overlay, picture, resized, save_png

PICTURE, TABLE = "parts/examples.png", "parts/probabilities.csv"
CONTEXT = "context"
TILE_SIZE = 160
"""Pixels of a picture's longer side."""
ALL = "all"
"""The one group of candidates: examples are chosen among all images."""


class PartExample(NamedTuple):
    """An image with its parts and heatmaps."""

    key: str
    image: Tensor
    """(3, H, W) in [0, 1]."""
    parts: Tensor
    """(P, 3): x, y, visible."""
    box: Tensor
    """(4,)."""
    labels: Sequence[str]
    scores: Sequence[float]
    maps: Tensor
    """(K, H, W)."""


class PartProbabilities(EvaluationCallback[Shares[str, PartExample]]):
    """Writes, of a few test images, what share of each x-feature falls on each part, at its pixel and over its region.

    ``parts/probabilities.csv`` has a row for each image, x-feature and kind: ``pixel``, S at the part's own pixel, and
    ``voronoi``, Algorithm 1 of the paper, with the context outside the box. Parts that cannot be seen have empty cells.
    ``parts/examples.png`` has a row for each image: the image, its parts, their regions, and the heatmaps with their scores.

    Args:
        num_images: Number of images, the same for any number of ranks.

    Raises:
        ValueError: If it is below 1; for the first batch, if the data set has no parts.
    """

    title: ClassVar[str] = "Parts"

    @checked
    def __init__(self, num_images: Count = 4) -> None:
        super().__init__()
        self.num_images = num_images
        self._examples: Candidates[str, PartExample] = Candidates(num_images)

    @override
    def begin(self, run: Run) -> None:
        self._examples.clear()

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        if "parts" not in batch:
            raise run.refusal("a data set with parts, such as CUBDataModule", run.trainer.datamodule)  # type: ignore[attr-defined]
        explanation = run.explanation(outputs)
        for row, key in enumerate(batch["key"]):
            if not self._examples.wants(ALL, place_of(key), key):
                continue
            chosen = explanation.valid_heatmaps(row)
            image = run.plain_images(batch, [row])[0].cpu()
            whole = torch.tensor([0.0, 0.0, image.shape[2], image.shape[1]])
            boxes = batch["boxes"][row] if "boxes" in batch else whole[None]
            example = PartExample(
                key, image, batch["parts"][row].cpu(), boxes[0].cpu() if len(boxes) else whole,
                [explanation.labels[row][k] for k in chosen], explanation.scores[row, chosen].tolist(),
                explanation.heatmaps[row, chosen].detach().float().cpu(),
            )  # fmt: skip
            self._examples.offer(ALL, place_of(key), example)

    @override
    def share(self, run: Run) -> Shares[str, PartExample]:
        share = self._examples.share()
        self._examples.clear()
        return share

    @override
    def write(self, run: Run, shares: Sequence[Shares[str, PartExample]]) -> Path | None:
        examples = self._examples.joined(shares).get(ALL, [])
        if not examples:
            return None
        names = part_names(run.trainer.datamodule, len(examples[0].parts))  # type: ignore[attr-defined]
        with atomic_file(run.folder / TABLE) as partial:
            rows = [row for example in examples for row in probabilities(example, names)]
            write_csv_table(partial, ["key", "x-feature", "score", "kind", *names, CONTEXT], rows)
        with atomic_file(run.folder / PICTURE) as partial:
            save_png(captioned_grid([cells(example) for example in examples]), partial)
        return run.folder / PICTURE


def part_names(data: Any, count: int) -> list[str]:
    """Names of the parts; numbers where the data set does not name them."""
    split = getattr(data, "splits", {}).get("test")
    known = None if split is None else split.index.part_names
    return list(known) if known else [f"part {number + 1}" for number in range(count)]


def probabilities(example: PartExample, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Rows of the table: two for each x-feature."""
    at_pixels = pixel_probabilities(example.maps)
    in_regions = voronoi_part_probabilities(example.maps, example.parts, example.box)
    height, width = example.maps.shape[1:]
    for k, (label, score) in enumerate(zip(example.labels, example.scores, strict=True)):
        common = {"key": example.key, "x-feature": label, "score": f"{score:.9g}"}
        seen = {
            name: (int(x), int(y))
            for name, (x, y, visible) in zip(names, example.parts.tolist(), strict=True)
            if visible and 0 <= int(x) < width and 0 <= int(y) < height
        }
        yield common | {"kind": "pixel"} | {name: f"{float(at_pixels[k, y, x]):.9g}" for name, (x, y) in seen.items()}
        regions = dict(zip([*names, CONTEXT], in_regions[k].tolist(), strict=True))
        shown = {name: f"{value:.9g}" for name, value in regions.items() if name in seen or name == CONTEXT}
        yield common | {"kind": "voronoi"} | shown


def cells(example: PartExample) -> list[tuple[str, Image.Image]]:
    """Captions and pictures of an image: itself, its parts, their regions, and its heatmaps."""
    drawn = [("", picture(example.image)), ("parts", with_dots(example)), ("regions", regions_picture(example))]
    for label, score, map_ in zip(example.labels, example.scores, example.maps, strict=True):
        drawn.append((f"{label} {score:+.2f}", overlay(example.image, map_)))
    return [(caption, resized(tile, TILE_SIZE)) for caption, tile in drawn]


def with_dots(example: PartExample) -> Image.Image:
    """The image with a dot on each part that can be seen, in the colour of its region."""
    drawn = picture(example.image)
    draw, radius = ImageDraw.Draw(drawn), max(drawn.size) / 50
    for number, (x, y, visible) in enumerate(example.parts.tolist()):
        if visible:
            corners = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(corners, fill=colour_of(number), outline="white")
    return drawn


def regions_picture(example: PartExample) -> Image.Image:
    """Each part's Voronoi region in a colour of its own; the context is grey, and a hidden part has none."""
    size = (example.image.shape[1], example.image.shape[2])
    weights = voronoi_weights(example.parts, example.box, size)
    # The farthest pixel of a region has the weight 0, as those of all others there, and is left grey.
    nearest = torch.where(weights.amax(dim=0) > 0, weights.argmax(dim=0), len(weights) - 1)
    palette = torch.tensor([colour_of(number) for number in range(len(weights) - 1)] + [(200, 200, 200)])
    return picture(palette[nearest].permute(2, 0, 1).float() / 255)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour that differs from those of the numbers near it."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.381966 % 1, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
