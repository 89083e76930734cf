"""A fixed panel of images with their heatmaps, drawn while training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import class_names, datamodule_of, plain_images
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_on_zero
from vitrine.core.explanation import Explanation
from vitrine.explainers.srae.x_features import LOGIT_MAP, logit_maps
from vitrine.visualization.panel import panel


@contextmanager
def untouched(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards modes, gradients and random number generators are what they were before."""
    modes = [(child, child.training) for child in module.modules()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    generators = isolate_rng()
    generators.__enter__()
    for parameter, _ in gradients:
        parameter.grad = None
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient
        generators.__exit__(None, None, None)  # told of no exception, as it would not restore after one


class HeatmapPanel(pl.Callback):
    """Shows the heatmaps of a few fixed images as training goes on.

    The panel goes to W&B or TensorBoard where such a logger is in use, and else to PNG files in the run's folder,
    ``panels/epoch-0003-step-000120.png``. All ranks share the images out among them; rank zero draws. Training is not
    changed by it.

    Args:
        count: Number of images.
        every_n_epochs: Draws at the end of every so many training epochs.
        every_n_steps: Draws after every so many optimiser steps, in place of epochs.
        heatmaps: At most so many heatmaps an image, those of highest score; all where it is not given.
        logit_map: Shows excitation backprop of the explained logit itself beside the heatmaps (Qi et al. 2018, figure 4).
        files: Writes the PNG files also beside W&B or TensorBoard.
        name: The panel's name in W&B and TensorBoard.

    Raises:
        ValueError: If one of the numbers is below 1.
    """

    def __init__(
        self,
        count: int = 8,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        heatmaps: int | None = None,
        *,
        logit_map: bool = False,
        files: bool = False,
        name: str = "heatmaps",
    ) -> None:
        super().__init__()
        numbers = {
            "count": count,
            "every_n_epochs": every_n_epochs,
            "every_n_steps": every_n_steps,
            "heatmaps": heatmaps,
        }
        for option, value in numbers.items():
            if value is not None and value < 1:
                raise ValueError(f"HeatmapPanel: {option} must be at least 1, got {value}.")
        self.count, self.every_n_epochs, self.every_n_steps = count, every_n_epochs, every_n_steps
        self.heatmaps, self.logit_map, self.files, self.name = heatmaps, logit_map, files, name
        self._batch: Batch | None = None
        self._last_step = 0

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Loads the images."""
        with untouched(pl_module):
            self._batch = datamodule_of(trainer, self).panel(self.count)
        self._last_step = trainer.global_step

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Draws after every n-th optimiser step."""
        step = trainer.global_step
        # Under gradient accumulation several batches end at one step; under many optimisers one batch takes several.
        if self.every_n_steps and step // self.every_n_steps > self._last_step // self.every_n_steps:
            self._show(trainer, pl_module)
        self._last_step = step

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws after every n-th epoch."""
        if not self.every_n_steps and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._show(trainer, pl_module)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lets go of the images."""
        self._batch = None

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batch = self._batch
        if batch is None:
            return
        with untouched(pl_module):
            share = explain_share(trainer, pl_module, batch)
            maps = logit_map_share(trainer, pl_module, batch, share) if self.logit_map else None
            explanation, gathered = interleaved(gather_on_zero(share)), gather_on_zero(maps)
            if explanation is not None:
                beside = (LOGIT_MAP, interleaved_maps(gathered)) if self.logit_map else None
                self._send(trainer, self._drawn(trainer, pl_module, batch, explanation, beside))

    def _drawn(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        explanation: Explanation,
        beside: tuple[str, Tensor] | None,
    ) -> Image.Image:
        images = plain_images(trainer, batch, self, range(len(batch["image"])))
        names = class_names(trainer, pl_module, self)
        by_score = self.heatmaps is not None
        return panel(images, explanation, names, heatmaps=self.heatmaps, by_score=by_score, beside=beside)

    def _send(self, trainer: pl.Trainer, image: Image.Image) -> None:
        sent = [send_to(logger, self.name, image, trainer.global_step) for logger in trainer.loggers]
        if self.files or not any(sent):
            name = f"epoch-{trainer.current_epoch:04d}-step-{trainer.global_step:06d}.png"
            write_png(image, Path(trainer.default_root_dir) / "panels" / name)


def explain_share(trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch) -> Explanation | None:
    """The explanation of this rank's ``image[rank::world]``, on the CPU; None where no image is left for it."""
    share = batch["image"][trainer.global_rank :: trainer.world_size]
    if not len(share):
        return None
    precision, explainer = trainer.precision_plugin, cast("Any", pl_module.explainer)
    with precision.forward_context():  # as in the steps: the panel shows what the module computes there
        explanation: Explanation = explainer.explain(precision.convert_input(share.to(pl_module.device)))
    return explanation.cpu()


def logit_map_share(
    trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, explanation: Explanation | None
) -> Tensor | None:
    """(b, 1, H, W) maps of the explained logits of this rank's ``image[rank::world]``, on the CPU; None without an image."""
    if explanation is None:
        return None
    share = batch["image"][trainer.global_rank :: trainer.world_size].to(pl_module.device)
    images = trainer.precision_plugin.convert_input(share)
    return logit_maps(cast("Any", pl_module.explainer), images, explanation.target).cpu()


def interleaved_maps(shares: list[Tensor | None]) -> Tensor:
    """Puts (b, …) shares ``[rank::world]`` back into the images' order."""
    present = [share for share in shares if share is not None]
    order = sorted(((row, rank) for rank, share in enumerate(present) for row in range(len(share))))
    return torch.stack([present[rank][row] for row, rank in order])


def interleaved(shares: list[Explanation | None]) -> Explanation | None:
    """Puts the shares ``[rank::world]`` back into one explanation in the images' order; None where all are empty."""
    present = [share for share in shares if share is not None]
    order = [(row, share) for share in present for row in range(len(share))]
    order.sort(key=lambda place: place[0])  # stable: rank by rank within a row
    return Explanation.cat([share[row : row + 1] for row, share in order]) if order else None


def send_to(logger: Logger, name: str, image: Image.Image, step: int) -> bool:
    """Sends a picture to W&B or TensorBoard; False for a logger that takes none."""
    if isinstance(logger, WandbLogger):
        import wandb  # noqa: PLC0415  # only there where its logger is in use

        # The key by which WandbLogger orders everything; W&B's own step would run ahead of it.
        logger.experiment.log({name: wandb.Image(image), "trainer/global_step": step})
        return True
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, np.asarray(image), step, dataformats="HWC")
        return True
    return False


def write_png(image: Image.Image, path: Path) -> None:
    """Writes a picture that appears under its name only when it is whole."""
    with atomic_file(path) as partial:
        image.save(partial, format="PNG")
