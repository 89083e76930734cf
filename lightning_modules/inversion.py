"""InversionModule: masks by guided feature inversion (Du, Liu, Song and Hu, KDD 2018), optimised or predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torchmetrics import MeanMetric
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.explained import Explain
from lightning_modules.heads import options_located
from lightning_modules.metric_states import computed, was_updated
from lightning_modules.step_progress import batches_of_run, show_beside_bar
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.distributed import share_of_mean
from vitrine.core.explanation import Explanation
from vitrine.core.options import Count, NonNegative, Options, Range
from vitrine.explainers.inversion.cost import forecast
from vitrine.explainers.inversion.explainer import InversionExplainer, InversionOptions
from vitrine.metrics.inversion_convergence import InversionConvergence

LONG = 20
"""Steps of a mask from which on a run says beforehand what it will take."""
LOSSES = ("loss", "loss/inversion", "loss/class")


@dataclass(frozen=True)
class InversionRuns(Options):
    """What an `InversionModule` explains, and what its ``fit`` lowers.

    Args:
        explain: which classes of each image, see `Explain`; ``label`` in the pointing game of the paper. The module's own
            ``explain`` goes before it.
        inversion_share: κ, weight of the inversion loss in ``fit``.
        internal_batch_size: masks that are optimised at once; a bound on memory that changes no result.
    """

    explain: Explain = "predicted"
    inversion_share: NonNegative = 1.0
    internal_batch_size: Count = 16


IN_FIT: dict[str, Any] = {
    "inversion_steps": 0,
    "class_steps": 0,
    "relative_error": True,
    "inversion_penalty": 0.0,
    "class_penalty": 0.0,
}
"""What a fit sets of `InversionSettings`."""


class InversionModule(ExplainerModule):
    """Finds masks of images while it validates, tests and predicts; trains a predictor of their channel weights in ``fit``.

    ``validate``, ``test`` and ``predict`` find each mask within the step, by the steps of the variant if it has any, from the
    predictor's answer where there is one, and count masks that did not converge and constant ones
    (`InversionConvergence`). Where a mask takes many steps, the first batch says what the run will take. Without a predictor
    nothing is learned, so that they need no checkpoint, and ``fit`` is refused.

    ``fit`` lowers κ ‖f(Φ) − f(x)‖² / ‖f(x)‖² + λ s(Φ_bg) − s(Φ) of the predicted ω, a mean over the global batch, through
    the frozen backbone: equations 8 and 9 on one scale, and without the penalties, since what is predicted is where ω points;
    its size is given. Validation in ``fit`` measures the same without a step of optimisation, and panels show the predicted
    masks. The backbone has to run on masked images, so images are always streamed, and may be augmented.

    Args:
        backbone: the classifier to be explained.
        inversion: which masks are optimised, and whether they are predicted.
        runs: what is explained and measured, and what ``fit`` lowers.
        kwargs: those of `ExplainerModule`: optimizer, lr_scheduler, init_from, names, explain, metrics.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {
        **ExplainerModule.RENAMED,
        "runs.localization_alpha": "metrics.localization_alpha",
    }
    explainer: InversionExplainer
    learning_rates = Range(above=0)
    shows_means = True
    val_losses: Sequence[MeanMetric]

    def __init__(
        self,
        backbone: BackboneOptions,
        inversion: InversionOptions = InversionOptions(),  # noqa: B008 - frozen
        runs: InversionRuns = InversionRuns(),
        **kwargs: Any,
    ) -> None:
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.inversion"):
            explainer = InversionExplainer(network, inversion)
        own = kwargs.pop("explain", "predicted")
        super().__init__(explainer, explain=runs.explain if own == "predicted" else own, **kwargs)
        self.is_fitted = explainer.predictor is not None
        self.needs_checkpoint = self.needs_checkpoint and self.is_fitted
        self.runs = runs
        self.settings = explainer.settings
        self.course = InversionConvergence()
        self._cost_told = False
        means = (MeanMetric(nan_strategy="disable").set_dtype(torch.float64) for _ in LOSSES)
        self.val_losses = nn.ModuleList(means)  # type: ignore[assignment]

    @override
    def setup(self, stage: str) -> None:
        """Also refuses a fit of nothing; in a fit the explainer shows what is predicted, without steps.

        Raises:
            ValueError: for ``fit`` without a predictor.
        """
        if stage == "fit" and self.explainer.predictor is None:
            raise ValueError(
                "Without a predictor there is nothing to fit: masks are optimised in validate, test and predict; run one of"
                " them, or set model.init_args.inversion.predictor to a number of hidden units, such as 64."
            )
        super().setup(stage)
        self._cost_told = False
        self.explainer.settings = replace(self.settings, **IN_FIT) if stage == "fit" else self.settings

    @property
    @override
    def needs_labels(self) -> bool:
        return False  # images without labels are explained by what is predicted

    @override
    def on_fit_end(self) -> None:
        super().on_fit_end()
        self.explainer.settings = self.settings

    @property
    @override
    def explains_in_validation(self) -> bool:
        return True

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return super().meaning_of_heads() | {"maps": self.settings.maps}

    # What is explained

    @override
    def explanation_of(self, batch: Batch) -> Explanation:
        """The masks of what `rows_of` gives; counts how their optimisation went."""
        images, target = batch["image"], self.target_of(batch)
        self._tell_cost(images)
        explanations = []
        for rows in torch.split(torch.arange(len(images), device=images.device), self.runs.internal_batch_size):
            classes = None if target is None else target[rows]
            explanation, result = self.explainer.explanation_and_result(images[rows], classes, self._show)
            self.course.update(result)
            explanations.append(explanation)
        return Explanation.cat(explanations)

    def _tell_cost(self, images: Tensor) -> None:
        """Says once a run what its masks will take, where that may be long."""
        settings = self.explainer.settings
        if (
            self._cost_told
            or self._trainer is None
            or not len(images)
            or settings.inversion_steps + settings.class_steps < LONG
        ):
            return
        self._cost_told = True
        masks = len(images) * batches_of_run(self._trainer)
        rank_zero_info(forecast(self.explainer, images[: self.runs.internal_batch_size], masks))

    def _show(self, loss: Tensor) -> None:
        if self._trainer is not None and len(loss):
            show_beside_bar(self._trainer, f"loss {float(loss.mean()):.3g}")

    @override
    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_course("test")

    @override
    def on_predict_epoch_end(self) -> None:
        """Says over all ranks how many masks are not to be relied on; nothing can be logged here."""
        counts = self.course.compute()
        self.course.reset()
        rank_zero_info(
            f"{int(counts['inversion/not_converged'])} masks did not converge within their steps,"
            f" {int(counts['inversion/degenerate'])} are constant."
        )

    def _log_course(self, stage: str) -> None:
        # Computed on all ranks together, also those without a batch, so every rank logs the same figures.
        figures = {f"{stage}/{name}": value for name, value in self.course.compute().items()}
        self.log_dict(figures, prog_bar=True)
        self.course.reset()

    # What is trained

    def losses_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(R,) inversion losses and (R,) class losses of the predicted ω of what `rows_of` gives."""
        rows = self.rows_of(batch)
        if not len(rows["image"]):  # of a rank for which no sample is left in the last batch of an epoch
            none = sum(value.flatten()[:0].sum() for value in self.explainer.parameters()) + rows["image"].new_zeros(0)
            return none, none
        with eval_guard(self.explainer.backbone.model):
            objective, _, start = self.explainer.problem(rows["image"], self.target_of(rows))
            return objective.inversion_loss(start), objective.class_loss(start)

    def training_step(self, batch: Batch) -> Tensor:
        """κ · inversion loss + class loss, a mean over the masks of the global batch, of which a rank may have more."""
        losses = self._named(*self.losses_of(batch))
        count = len(losses["loss"])
        self.log_means({f"train/{name}": values.sum() / max(count, 1) for name, values in losses.items()}, count)
        loss: Tensor = losses["loss"].sum() * share_of_mean(losses["loss"])
        return loss

    def _named(self, inversion: Tensor, of_class: Tensor) -> dict[str, Tensor]:
        total = self.runs.inversion_share * inversion + of_class
        return {"loss": total, "loss/inversion": inversion, "loss/class": of_class}

    def validation_step(self, batch: Batch) -> None:
        """In ``fit`` the losses of the predicted ω alone; else images are explained after it, as in a test."""
        if not self.is_fitting:
            return
        for metric, values in zip(self.val_losses, self._named(*self.losses_of(batch)).values(), strict=True):
            metric.update(values)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if not self.is_fitting:
            self._log_course("val")
            return
        for name, metric in zip(LOSSES, self.val_losses, strict=True):
            if was_updated(metric):
                self.log(f"val/{name}", computed(metric), prog_bar=True)
                metric.reset()
