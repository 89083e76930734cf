"""Tests whether the network still classifies images of which only what its heatmaps show is left."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from PIL import Image, ImageOps
from torch import Tensor
from typing_extensions import override

from callbacks.heatmaps import write_png
from callbacks.run_access import class_names, datamodule_of, explanation_of
from vitrine.core.batch import Batch, class_name
from vitrine.core.distributed import gather_on_zero
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer
from vitrine.metrics.masked_accuracy import GAMMAS, MaskedAccuracy, check_gammas, percent
from vitrine.metrics.masked_images import (
    Fill,
    Inpainting,
    check_filling,
    display_maps,
    kept_pixels,
    masked_inputs,
    opencv,
)
from vitrine.visualization.grid import captioned_grid
from vitrine.visualization.overlays import picture

NAME = "masked/examples.png"
CELL = 160  # pixels of a picture's longer side


class Example(NamedTuple):
    """An image to be shown."""

    place: str
    """By which the examples of a run are chosen: the same ones over any number of ranks."""
    image: Tensor
    """(3, H, W) as the backbone takes it."""
    kept: Tensor
    """(G, H, W) bool: what is kept at each γ."""


class MaskedClassification(pl.Callback):
    """Classifies masked images (section 4.2, tables 2b and 4 of Qi, Khorram and Li, 2018).

    It runs beside a test, on every image and its explanation. Pixels where no heatmap reaches γ of its own highest response
    are painted black and inpainted from the others. It logs ``test/accuracy_original``; ``test/masked_accuracy_5`` and
    ``test/kept_area_5``, the mean share of pixels kept, for γ = 5 %, and so on; and ``test/masked_accuracy_blank``, the
    number of images of which nothing is kept. The run's folder gets ``masked/examples.png``: a row an image, and for each γ
    what is left of it and what is recovered, under the class that is then predicted.

    Each image costs a further forward pass and one for each γ, and as many inpaintings, on the rank that tests it.

    Args:
        gammas: One or more different thresholds γ, from 0 to 1.
        fill: ``inpaint``, for which OpenCV is needed (the extra ``inpainting``), or ``black``.
        method: Of inpainting: ``telea`` or ``navier_stokes``.
        radius: Of inpainting, in pixels.
        sigma: Of the Gaussian that heatmaps are blurred by; 2 % of the longer side without it, as in panels, and 0 for none.
        examples: Number of images in the picture; none is drawn for 0.

    Raises:
        ValueError: For other options.
    """

    def __init__(
        self,
        gammas: Sequence[float] = GAMMAS,
        fill: Fill = "inpaint",
        method: Inpainting = "navier_stokes",
        radius: int = 3,
        sigma: float | None = None,
        examples: int = 4,
    ) -> None:
        super().__init__()
        check_gammas(gammas)
        check_filling(fill, method, radius)
        if sigma is not None and not sigma >= 0:
            raise ValueError(f"MaskedClassification: sigma must be at least 0, got {sigma}.")
        if examples < 0:
            raise ValueError(f"MaskedClassification: examples must be at least 0, got {examples}.")
        self.gammas, self.fill, self.method, self.radius, self.examples = gammas, fill, method, radius, examples
        self.sigma = sigma
        self._accuracy: MaskedAccuracy | None = None
        self._examples: list[Example] = []

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sees to it that there is a backbone to classify with, and OpenCV where it is needed.

        Raises:
            ValueError: If the module has no explainer.
            ModuleNotFoundError: If OpenCV is needed and not installed.
        """
        if not isinstance(getattr(pl_module, "explainer", None), Explainer):
            raise ValueError(
                "MaskedClassification needs a module with an explainer on a frozen backbone, got"
                f" {type(pl_module).__name__}."
            )
        if self.fill == "inpaint":
            opencv()

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins anew."""
        explainer: Any = pl_module.explainer
        preprocessing = datamodule_of(trainer, self).preprocessing
        accuracy = MaskedAccuracy(
            lambda images: explainer.backbone(images).logits,
            preprocessing,
            self.gammas,
            self.fill,
            self.method,
            self.radius,
            self.sigma,
        )
        self._accuracy, self._examples = accuracy.to(pl_module.device), []

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Classifies the batch's masked images."""
        explanation = explanation_of(outputs, self, "test_step")
        if self._accuracy is not None:
            # As in the steps, so that the original accuracy is that of the test.
            with trainer.precision_plugin.forward_context():
                self._accuracy.update(explanation, batch)
            self._examples = first(self.examples, [*self._examples, *self._of_batch(explanation, batch)])

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Computes over all ranks, logs, and draws on rank zero."""
        examples = first(self.examples, [example for share in gather_on_zero(self._examples) for example in share])
        if self._accuracy is not None:
            figures = {f"test/{name}": value for name, value in self._accuracy.compute().items()}
            # Computed on all ranks together, so every rank logs the same figures.
            pl_module.log_dict(figures, rank_zero_only=True)
        if examples:
            write_png(self._drawn(trainer, pl_module, examples), Path(trainer.default_root_dir, NAME))
        self._accuracy, self._examples = None, []

    def _of_batch(self, explanation: Explanation, batch: Batch) -> list[Example]:
        places = [hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest() for key in batch["key"]]
        rows = sorted(range(len(places)), key=places.__getitem__)[: self.examples]
        return [
            Example(
                places[row], batch["image"][row].detach().float().cpu().clone(), self._kept(explanation[row : row + 1])
            )
            for row in rows
            if len(self._examples) < self.examples or places[row] < self._examples[-1].place
        ]

    def _kept(self, explanation: Explanation) -> Tensor:
        maps = display_maps(explanation, self.sigma)
        return torch.cat([kept_pixels(maps, gamma) for gamma in self.gammas])

    def _drawn(self, trainer: pl.Trainer, pl_module: pl.LightningModule, examples: Sequence[Example]) -> Image.Image:
        preprocessing = datamodule_of(trainer, self).preprocessing
        images, kept = torch.stack([e.image for e in examples]), torch.stack([e.kept for e in examples])
        masked = partial(masked_inputs, images, preprocessing=preprocessing)
        columns = [(predicted_names(trainer, pl_module, self, images), images)]
        for index, gamma in enumerate(self.gammas):
            share = f"{percent(gamma)} %"
            if self.fill != "black":
                columns.append(([share] * len(images), masked(kept[:, index], fill="black")))
            filled = masked(kept[:, index], fill=self.fill, method=self.method, radius=self.radius)
            names = predicted_names(trainer, pl_module, self, filled)
            columns.append(([f"{share}: {name}" for name in names], filled))
        return captioned_grid(rows_of(columns, preprocessing))


def first(count: int, examples: Sequence[Example]) -> list[Example]:
    """Those that are shown, in their order: the keys' hashes choose, which favour no class and no rank."""
    return sorted(examples, key=lambda example: example.place)[:count]


def predicted_names(
    trainer: pl.Trainer, pl_module: pl.LightningModule, callback: pl.Callback, images: Tensor
) -> list[str]:
    """The class of each image, by name."""
    explainer: Any = pl_module.explainer
    precision, names = trainer.precision_plugin, class_names(trainer, pl_module, callback)
    with torch.no_grad(), precision.forward_context():
        logits = explainer.backbone(precision.convert_input(images.to(pl_module.device))).logits
    return [class_name(names, index) for index in logits.argmax(dim=1).tolist()]


def rows_of(
    columns: Sequence[tuple[Sequence[str], Tensor]], preprocessing: Preprocessing
) -> list[list[tuple[str, Image.Image]]]:
    """A row of captions and pictures for each image, from columns of captions and (B, 3, H, W) inputs."""
    drawn = [
        [
            (caption, ImageOps.contain(picture(image), (CELL, CELL)))
            for caption, image in zip(captions, plain, strict=True)
        ]
        for captions, plain in ((captions, preprocessing.denormalize(inputs)) for captions, inputs in columns)
    ]
    return [list(row) for row in zip(*drawn, strict=True)]
