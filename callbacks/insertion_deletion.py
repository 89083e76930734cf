"""Tests how much of a class's probability the pixels carry that heatmaps point out."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import explanation_of
from vitrine.core.batch import Batch
from vitrine.explainers import Explainer
from vitrine.metrics.functional import check_insertion_deletion
from vitrine.metrics.insertion_deletion import InsertionDeletion


class InsertionAndDeletion(pl.Callback):
    """Inserts and deletes pixels by their saliency, and measures the explained class (Petsiuk et al., BMVC 2018).

    It runs beside a test, on every image and its explanation. It logs ``test/insertion_auc``, the mean area under the
    probability of the class as pixels come into the blurred image (higher is better); ``test/deletion_auc``, that as they
    give way to the mean colour (lower is better); and ``test/insertion_deletion_degenerate``, the number of images left out
    because their map gives no order of pixels.

    Each image costs 2 · (``steps`` + 1) further forward passes, on the rank that tests it.

    Args:
        steps: How many groups of as many pixels come or go one after the other.
        blur: σ in pixels of the Gaussian that blurs the image for insertion.

    Raises:
        ValueError: For steps below 1 or a negative blur.
    """

    def __init__(self, steps: int = 50, blur: float = 11.0) -> None:
        super().__init__()
        check_insertion_deletion(steps, blur)
        self.steps, self.blur = steps, blur
        self._metric: InsertionDeletion | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Sees to it that there is a backbone to classify with.

        Raises:
            ValueError: If the module has no explainer.
        """
        if not isinstance(getattr(pl_module, "explainer", None), Explainer):
            raise ValueError(
                "InsertionAndDeletion needs a module with an explainer on a frozen backbone, got"
                f" {type(pl_module).__name__}."
            )

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins anew."""
        explainer: Any = pl_module.explainer

        def classify(images: Tensor) -> Tensor:
            # As in the steps, so that whole images have the probabilities of the test.
            with trainer.precision_plugin.forward_context():
                logits: Tensor = explainer.backbone(images).logits
            return logits

        self._metric = InsertionDeletion(classify, self.steps, self.blur).to(pl_module.device)

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
        """Classifies the batch's images with more and more of their pixels."""
        explanation = explanation_of(outputs, self, "test_step")
        if self._metric is not None:
            self._metric.update(explanation, batch)

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Computes over all ranks, and logs."""
        if self._metric is not None:
            figures = {f"test/{name}": value for name, value in self._metric.compute().items()}
            # Computed on all ranks together, so every rank logs the same figures.
            pl_module.log_dict(figures, rank_zero_only=True)
        self._metric = None
