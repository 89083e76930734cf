"""HeatmapPanel: draws a fixed panel of images with their heatmaps while training, and at the end of a test."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, cast

import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from callbacks.loggers import log_image
from callbacks.run_access import Run, is_trial
from vitrine.backbones.guard import eval_guard
from vitrine.core.atomic_io import atomic_file
from vitrine.core.batch import Batch
from vitrine.core.distributed import gather_on_zero
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, checked
from vitrine.data.contracts import satisfies
from vitrine.explainers.srae.x_features import LOGIT_MAP, logit_maps
from vitrine.visualization.overlays import save_png
from vitrine.visualization.panel import panel


class Explains(Protocol):
    """An explainer, as far as a panel needs it."""

    def explain(self, images: Tensor, target: Tensor | None = None) -> Explanation:
        """The explanation of (B, 3, H, W) images and (B,) classes, or of their predictions."""


class ExplainsClasses(Protocol):
    """A module whose tests explain certain classes of images."""

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """The batch with class indices of the network as labels."""

    def rows_of(self, batch: Batch) -> Batch:
        """The images to explain, each as often as it has classes."""

    def target_of(self, rows: Batch) -> Tensor | None:
        """(R,) classes to explain; None for the predictions."""


class HeatmapPanel(pl.Callback):
    """Shows the heatmaps of a few fixed images as training goes on, and at the end of a test.

    The panel goes to W&B or TensorBoard where such a logger is in use, and else to PNG files in the run's folder,
    ``panels/epoch-0003-step-000120.png``, and ``panels/test.png`` of a test. All ranks share the images out among them; rank
    zero draws. Training is not changed by it. In training a panel shows the predictions, after a test the classes that the
    test explains, of an image with several the first.

    Args:
        num_images: Number of images.
        every_n_epochs: Draws at the end of every so many training epochs.
        every_n_steps: Draws after every so many optimiser steps, in place of epochs.
        num_heatmaps: At most so many heatmaps an image, those of highest score; all where it is not given.
        logit_map: Shows excitation backprop of the explained logit itself beside the heatmaps (Qi et al. 2018, figure 4).
        files: Writes the PNG files also beside W&B or TensorBoard.
        name: The panel's name in W&B and TensorBoard.

    Raises:
        ValueError: If one of the numbers is below 1; before the run, without a datamodule or an explainer, and for a module
            with several explainers.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"count": "num_images", "heatmaps": "num_heatmaps"}

    @checked
    def __init__(
        self,
        num_images: Count = 8,
        every_n_epochs: Count = 1,
        every_n_steps: Count | None = None,
        num_heatmaps: Count | None = None,
        *,
        logit_map: bool = False,
        files: bool = False,
        name: str = "heatmaps",
    ) -> None:
        super().__init__()
        self.num_images, self.every_n_epochs, self.every_n_steps = num_images, every_n_epochs, every_n_steps
        self.num_heatmaps, self.logit_map, self.files, self.name = num_heatmaps, logit_map, files, name
        self._batch: Batch | None = None
        self._last_step = 0

    def unmet(self, run: Run) -> str:
        """A module of one explainer, where the run's has several; the callback is left out then."""
        return run.unmet_alone()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a module with several explainers."""
        Run(trainer, pl_module, self).check_alone()

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Loads the images."""
        run = Run(trainer, pl_module, self)
        with eval_guard(pl_module, freeze=False, every_generator=True):
            self._batch = run.datamodule.panel(self.num_images)
        self._last_step = trainer.global_step

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Loads the images."""
        self.on_fit_start(trainer, pl_module)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws once, with the heads that were tested."""
        if not is_trial(trainer):
            self._show(Run(trainer, pl_module, self))

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Draws after every n-th optimiser step."""
        step = trainer.global_step
        # Under gradient accumulation several batches end at one step; under many optimisers one batch takes several.
        if self.every_n_steps and step // self.every_n_steps > self._last_step // self.every_n_steps:
            self._show(Run(trainer, pl_module, self))
        self._last_step = step

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws after every n-th epoch."""
        if not self.every_n_steps and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._show(Run(trainer, pl_module, self))

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Frees the images."""
        self._batch = None

    def _show(self, run: Run) -> None:
        if self._batch is None:
            return
        with eval_guard(run.module, freeze=False, every_generator=True):
            images = run.share(self._batch["image"])
            is_test = run.trainer.state.fn == TrainerFn.TESTING
            explanation = explained(run, images, tested_classes(run, images, self._batch) if is_test else None)
            maps = self._logit_maps(run, images, explanation)
            explanations, shares = gather_on_zero(explanation), gather_on_zero(maps)
            whole = interleaved(explanations)
            if whole is not None:
                beside = (LOGIT_MAP, interleaved_maps(shares)) if self.logit_map else None
                self._send(run, self._drawn(run, self._batch, whole, beside))

    def _logit_maps(self, run: Run, images: Tensor, explanation: Explanation | None) -> Tensor | None:
        """(b, 1, H, W) maps of the explained logits of this rank's images, on the CPU; None without an image."""
        if not self.logit_map or explanation is None:
            return None
        return logit_maps(run.backbone_explainer(), images, explanation.target).cpu()

    def _drawn(
        self, run: Run, batch: Batch, explanation: Explanation, beside: tuple[str, Tensor] | None
    ) -> Image.Image:
        images, by_score = run.plain_images(batch, range(len(batch["image"]))), self.num_heatmaps is not None
        return panel(
            images,
            explanation,
            run.class_names,
            heatmaps=self.num_heatmaps,
            by_score=by_score,
            beside=beside,
            texts=run.heatmap_texts,
        )

    def _send(self, run: Run, image: Image.Image) -> None:
        sent = log_image(run.trainer, self.name, image)
        if self.files or not sent:
            trained = f"epoch-{run.trainer.current_epoch:04d}-step-{run.trainer.global_step:06d}"
            name = "test.png" if run.trainer.state.fn == TrainerFn.TESTING else f"{trained}.png"
            with atomic_file(run.folder / "panels" / name) as partial:
                save_png(image, partial)


def tested_classes(run: Run, images: Tensor, batch: Batch) -> Tensor | None:
    """(b,) the first class of each of this rank's images that a test explains; None for the predictions.

    Args:
        run: whose module tests.
        images: (b, 3, H, W), this rank's share of the batch.
        batch: the images of all ranks, with keys and, where there are any, labels.
    """
    if not len(images) or not satisfies(run.module, ExplainsClasses):
        return None
    module, own = cast("ExplainsClasses", run.module), slice(run.trainer.global_rank, None, run.trainer.world_size)
    share = Batch(image=images, key=batch["key"][own])
    if "label" in batch:
        share["label"] = batch["label"][own].to(images.device)
    if "box_labels" in batch:
        share["box_labels"] = batch["box_labels"][own]
    with run.trainer.precision_plugin.forward_context():
        rows = module.rows_of(module.on_before_batch_transfer(share, 0))
    target, keys = module.target_of(rows), rows["key"]
    firsts = [row for row, key in enumerate(keys) if row == 0 or key != keys[row - 1]]
    return None if target is None else target[firsts]


def explained(run: Run, images: Tensor, target: Tensor | None = None) -> Explanation | None:
    """The explanation of this rank's images, on the CPU; None where it has none.

    Args:
        run: whose module has the explainer.
        images: (b, 3, H, W).
        target: (b,) classes; the predictions without it.

    Raises:
        ValueError: for a module without an explainer.
    """
    if not satisfies(run.explainer, Explains):
        raise run.refusal("a module with an explainer", run.module)
    if not len(images):
        return None
    with run.trainer.precision_plugin.forward_context():  # as in the steps: the panel shows what is computed there
        return cast("Explains", run.explainer).explain(images, target).cpu()


def interleaved_maps(shares: Sequence[Tensor | None]) -> Tensor:
    """Puts (b, …) shares ``[rank::world]`` back into the images' order."""
    present = [share for share in shares if share is not None]
    order = sorted(((row, rank) for rank, share in enumerate(present) for row in range(len(share))))
    return torch.stack([present[rank][row] for row, rank in order])


def interleaved(shares: Sequence[Explanation | None]) -> Explanation | None:
    """Puts the shares ``[rank::world]`` back into one explanation in the images' order; None where all are empty."""
    present = [share for share in shares if share is not None]
    order = [(row, share) for share in present for row in range(len(share))]
    order.sort(key=lambda place: place[0])  # stable: rank by rank within a row
    return Explanation.cat([share[row : row + 1] for row, share in order]) if order else None
