"""MaskedClassification: whether a network still classifies images of which only what its heatmaps show is left."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor
from typing_extensions import override

from callbacks.candidates import Candidates, Shares, place_of
from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation, class_name
from vitrine.core.options import CountOrZero, Share, checked
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.base import Curve
from vitrine.metrics.masked_accuracy import GAMMAS, MaskedAccuracy, check_gammas, percent, settings_told
from vitrine.metrics.masked_images import (
    Fill,
    Inpainting,
    Radius,
    kept_at_gammas,
    masked_inputs,
    opencv,
    response_maps,
)
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture, save_png

NAME = "masked/examples.png"
TILE_SIZE = 160  # pixels of a picture's longer side
ALL = "all"
"""The one group of candidates: examples are chosen among all images."""

Column = tuple[Sequence[str], Tensor]
"""Captions and (B, 3, H, W) inputs."""


class Example(NamedTuple):
    """An image to be shown."""

    key: str
    image: Tensor
    """(3, H, W) as the backbone takes it."""
    kept: Tensor
    """(G, H, W) bool: what is kept at each γ."""


class MaskedClassification(EvaluationCallback[Shares[str, Example]]):
    """Classifies masked images (section 4.2, tables 2b and 4 of Qi, Khorram and Li, 2018).

    It runs beside a test, on every image and its explanation. Pixels where no heatmap reaches γ of its own highest response
    are painted black and inpainted from the others. It logs ``test/masked_accuracy/original``; ``test/masked_accuracy/5``
    and ``test/masked_accuracy/kept_area_5``, the mean share of pixels kept, for γ = 5 %, and so on; and
    ``test/masked_accuracy/blank``, the number of images of which nothing is kept. The run's folder gets
    ``masked/examples.png``: a row an image, and for each γ what is left of it and what is recovered, under the class that is
    then predicted.

    Each image costs a further forward pass and an inpainting for each γ, on the rank that tests it.

    Args:
        gammas: One or more different thresholds γ.
        fill: ``inpaint``, for which OpenCV is needed (the extra ``inpainting``), or ``black``.
        method: Of inpainting.
        radius: Of inpainting, in pixels.
        blur: σ of the Gaussian that heatmaps are blurred by, as a share of the longer side; 0 for none, as in the paper, and
            0.02 for what panels show.
        num_examples: Number of images in the picture; none is drawn for 0.

    Raises:
        ValueError: For other options; before the run, for a module without an explainer.
        ModuleNotFoundError: Before the run, where OpenCV is needed and not installed.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"examples": "num_examples", "sigma": "blur"}
    title: ClassVar[str] = "Masked images"

    @checked
    def __init__(
        self,
        gammas: Sequence[Share] = GAMMAS,
        fill: Fill = "inpaint",
        method: Inpainting = "navier_stokes",
        radius: Radius = 3,
        blur: Share = 0.0,
        num_examples: CountOrZero = 4,
    ) -> None:
        super().__init__()
        check_gammas(gammas)
        self.gammas, self.fill, self.method, self.radius, self.blur = gammas, fill, method, radius, blur
        self.num_examples = num_examples
        self.metrics: Sequence[MaskedAccuracy] = ()
        self.curves: Mapping[str, Curve] = {}
        self._examples: Candidates[str, Example] = Candidates(num_examples)

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        return settings_told(self.blur)

    @override
    def check(self, run: Run) -> None:
        run.backbone_explainer()
        if self.fill == "inpaint":
            opencv()

    @override
    def begin(self, run: Run) -> None:
        backbone = run.backbone_explainer().backbone
        options = (self.gammas, self.fill, self.method, self.radius, self.blur)
        classify, preprocessing = (lambda images: backbone(images).logits), run.datamodule.preprocessing
        accuracy = MaskedAccuracy(classify, preprocessing, *options, own_logits=True)
        self.metrics = (accuracy.to(run.module.device),)
        self._examples.clear()

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        for accuracy in self.metrics:
            # As in the steps, so that the original accuracy is that of the test.
            with run.trainer.precision_plugin.forward_context():
                accuracy.update(explanation, batch)
        for row, key in enumerate(batch["key"]):
            if self.num_examples and self._examples.wants(ALL, place_of(key), key):
                image = batch["image"][row].detach().float().cpu().clone()
                example = Example(key, image, self._kept(explanation[row : row + 1]))
                self._examples.offer(ALL, place_of(key), example)

    def _kept(self, explanation: Explanation) -> Tensor:
        return kept_at_gammas(response_maps(explanation, self.blur), self.gammas)[0]

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        (accuracy,) = self.metrics
        figures = accuracy.compute()
        with accuracy.sync_context():
            self.curves = accuracy.curves()
        self.metrics = ()
        return figures

    @override
    def share(self, run: Run) -> Shares[str, Example]:
        share = self._examples.share()
        self._examples.clear()
        return share

    @override
    def write(self, run: Run, shares: Sequence[Shares[str, Example]]) -> Path | None:
        examples = self._examples.joined(shares).get(ALL, [])
        if not examples:
            return None
        preprocessing = run.datamodule.preprocessing
        rows = rows_of(self._columns(run, examples, preprocessing), preprocessing)
        with atomic_file(run.folder / NAME) as partial_file:
            save_png(captioned_grid(rows), partial_file)
        return run.folder / NAME

    def _columns(self, run: Run, examples: Sequence[Example], preprocessing: Preprocessing) -> list[Column]:
        """What is drawn of the examples: the images themselves, and for each γ what is left and what is recovered."""
        images, kept = torch.stack([e.image for e in examples]), torch.stack([e.kept for e in examples])
        masked = partial(masked_inputs, images, preprocessing=preprocessing)
        columns: list[Column] = [(predicted_names(run, images), images)]
        for index, gamma in enumerate(self.gammas):
            share = f"{percent(gamma)} %" + (f", blur {percent(self.blur)} %" if self.blur else "")
            if self.fill != "black":
                columns.append(([share] * len(images), masked(kept[:, index], fill="black")))
            filled = masked(kept[:, index], fill=self.fill, method=self.method, radius=self.radius)
            columns.append(([f"{share}: {name}" for name in predicted_names(run, filled)], filled))
        return columns


def predicted_names(run: Run, images: Tensor) -> list[str]:
    """The class of each image, by name."""
    precision = run.trainer.precision_plugin
    with torch.no_grad(), precision.forward_context():
        logits = run.backbone_explainer().backbone(precision.convert_input(images.to(run.module.device))).logits
    return [class_name(run.class_names, index) for index in logits.argmax(dim=1).tolist()]


def rows_of(columns: Sequence[Column], preprocessing: Preprocessing) -> list[list[tuple[str, Image.Image]]]:
    """A row of captions and pictures for each image."""
    drawn = [
        [
            (caption, ImageOps.contain(picture(image), (TILE_SIZE, TILE_SIZE)))
            for caption, image in zip(captions, plain, strict=True)
        ]
        for captions, plain in ((captions, preprocessing.denormalize(inputs)) for captions, inputs in columns)
    ]
    return [list(row) for row in zip(*drawn, strict=True)]
