"""What the methods show of one image a class."""

from PIL import Image
from torch import Tensor

from benchmarks.an8flower.fold import FoldRun
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture

SIDE = 128
FIRST = ("Upsampled activation", "Deconv+GB", "Grad-CAM", "Guided Grad-CAM", "Ours", "Ours, above the usual")
"""As in figure 8 of the paper; the other methods follow."""


def picture_of(run: FoldRun) -> Image.Image:
    """A row a class: the first test image, its mask, and each method's map as it is read."""
    names = [*FIRST, *(name for name in run.shown if name not in FIRST)]
    rows = []
    for label, row in enumerate(run.first):
        cells = [("image", run.test.images[row].cpu() / 2 + 0.5), ("mask", _grey(run.test.masks[row].float()))]
        cells += [(name, _grey(run.shown[name][label])) for name in names if name in run.shown]
        rows.append([(name, picture(pixels).resize((SIDE, SIDE))) for name, pixels in cells])
    return captioned_grid(rows)


def _grey(values: Tensor) -> Tensor:
    """(3, H, W) of (H, W)."""
    return values.expand(3, -1, -1)
