"""MaskingModule: fits a masking network for real-time saliency (Dabkowski and Gal, NIPS 2017)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from lightning_modules.base import ExplainerModule
from lightning_modules.heads import options_located
from lightning_modules.metric_states import computed, was_updated
from vitrine.attribution.inversion.objective import background_of
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch, repeat_per_class
from vitrine.core.distributed import share_of_mean
from vitrine.core.explanation import Explanation
from vitrine.explainers.masking.draws import MaskingDraws, drawn
from vitrine.explainers.masking.explainer import MaskingExplainer, MaskingOptions
from vitrine.explainers.masking.losses import MaskingLosses, MaskingTerms, masking_terms

LOSSES = ("loss", *(f"loss/{name}" for name in MaskingTerms._fields))


class MaskingModule(ExplainerModule):
    """Trains a network that gives the mask of a class in one pass: a trained rival of optimised masks.

    ``fit`` lowers λ₁ TV(m) + λ₂ AV(m) − log f_c(Φ(x, m)) + λ₃ f_c(Φ(x, 1 − m))^λ₄ of the classes of each image, a mean over
    the masks of the global batch, through the frozen backbone; backgrounds and fake classes are drawn for each image and
    epoch. Validation measures the same without draws, before blurred images. Images are always
    streamed, and may be augmented.

    Args:
        backbone: the classifier to be explained.
        masking: size of the network, and the features that it reads.
        losses: weights of the losses, and what is drawn.
        kwargs: those of `ExplainerModule`: optimizer, lr_scheduler, init_from, names.
    """

    explainer: MaskingExplainer
    shows_means = True
    mean_losses: Sequence[MeanMetric]

    def __init__(
        self,
        backbone: BackboneOptions,
        masking: MaskingOptions = MaskingOptions(),  # noqa: B008 - frozen
        losses: MaskingLosses = MaskingLosses(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.masking"):
            explainer = MaskingExplainer(network, masking)
        super().__init__(explainer, **kwargs)
        self.losses = losses
        means = (MeanMetric(nan_strategy="disable").set_dtype(torch.float64) for _ in LOSSES)
        self.mean_losses = nn.ModuleList(means)  # type: ignore[assignment]

    def losses_of(self, batch: Batch, *, draw: bool) -> dict[str, Tensor]:
        """(R,) losses by name, of the R pairs of an image and a class that it has.

        Args:
            batch: of which images without labels give nothing.
            draw: whether backgrounds and fake classes are drawn, as in training.
        """
        label = batch.get("label", batch["image"].new_zeros(len(batch["image"]), 0))
        rows, classes = repeat_per_class({**batch, "label": label}) if label.ndim == 2 else (batch, label)
        images = rows["image"]
        if not len(images):  # of a rank for which no sample is left in the last batch of an epoch
            none = sum(value.flatten()[:0].sum() for value in self.explainer.parameters()) + images.new_zeros(0)
            return dict.fromkeys(LOSSES, none)
        explainer = self.explainer
        if draw:
            seed = self._fit_seed or 0
            draws = drawn(images, classes, rows["key"], self.current_epoch, explainer.num_classes, self.losses, seed)
        else:
            kind = "blur" if self.losses.background == "mixed" else self.losses.background
            draws = MaskingDraws(background_of(images, kind), classes, torch.zeros_like(classes, dtype=torch.bool))
        masks = explainer.masks(explainer.features(images)[1], draws.classes)
        shown, left = (
            explainer.log_probabilities(images, mask, draws.background, draws.classes) for mask in (masks, 1 - masks)
        )
        terms = masking_terms(masks, shown, left, self.losses)
        return dict(zip(LOSSES, (terms.weighted(self.losses, draws.is_fake), *terms), strict=True))

    def training_step(self, batch: Batch) -> Tensor:
        """The loss, a mean over the masks of the global batch, of which a rank may have more."""
        losses = self.losses_of(batch, draw=True)
        count = len(losses["loss"])
        self.log_means({f"train/{name}": values.sum() / max(count, 1) for name, values in losses.items()}, count)
        loss: Tensor = losses["loss"].sum() * share_of_mean(losses["loss"])
        return loss

    def validation_step(self, batch: Batch) -> None:
        """The losses without draws."""
        self._measure(batch)

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        """Measures what other explainers measure, and the losses without draws."""
        self._measure(batch)
        return super().test_step(batch)

    def _measure(self, batch: Batch) -> None:
        with torch.no_grad():
            losses = self.losses_of(batch, draw=False)
        if len(losses["loss"]):
            for metric, values in zip(self.mean_losses, losses.values(), strict=True):
                metric.update(values)

    def on_validation_epoch_end(self) -> None:
        """Also logs the mean losses over all ranks."""
        super().on_validation_epoch_end()
        self._log_losses("val")

    def on_test_epoch_end(self) -> None:
        """Also logs the mean losses over all ranks."""
        super().on_test_epoch_end()
        self._log_losses("test")

    def _log_losses(self, stage: str) -> None:
        for name, metric in zip(LOSSES, self.mean_losses, strict=True):
            if was_updated(metric):
                self.log(f"{stage}/{name}", computed(metric), prog_bar=True)
                metric.reset()
