"""Selects the filters that each class rests on (Oramas, Wang and Tuytelaars, ICLR 2019)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from vitrine.attribution.perturbations import progress_bar
from vitrine.backbones import BackboneOptions, FrozenBackbone
from vitrine.batch import Batch
from vitrine.distributed import sum_over_ranks
from vitrine.explainers.mu_lasso import MuLassoExplainer
from vitrine.explainers.mu_lasso_fit import MuLassoFit, label_matrix
from vitrine.explanation import Explanation
from vitrine.metrics import ClassReconstruction
from vitrine.solvers import MuLassoSolution


class MuLassoModule(ExplainerModule):
    """Fits the weights of equation 1, ‖XᵀW − Lᵀ‖² with ‖w_j‖₁ ≤ μ, in one of two ways to the same optimum.

    ``exact`` takes in each training sample once, then solves all classes to a certified duality gap; training ends after
    that one epoch. ``sgd`` takes mini-batch steps, each followed by the projection onto the ℓ1 ball: for data that are too
    many or still growing, and to fine-tune the weights of ``init_from`` on a new set.

    Args:
        backbone: the classifier to be explained.
        layers: ``all``, ``conv``, or names of the layers whose filters are features.
        norm: of a filter's output: l2 or squared.
        normalization: of the responses: each ``layer`` by its sum (the paper), or the ``whole`` by its L2 norm.
        scaling: of the responses: paper, width, unit or standardized, see `vitrine.responses.ResponseScaling`.
        mu: μ; it bounds the weights of the scaled responses.
        solver: exact or sgd.
        tol: of ``exact``: largest duality gap, as a share of the objective.
        heatmaps: K, filters drawn an image.
        aggregation: how they are joined to one map: maximum or sum.
        stride_one: whether strided operators are taken back with stride 1.
        pooling: of stride_one: switches or resampled.
        sigma: of the Gaussian that heatmaps are blurred by, in pixels.
        image_size: side of the backbone's input in pixels.
        lr: of ``sgd``: step size in units of the largest that is stable for the first batch.
        momentum: of ``sgd`` (Nesterov's).
        lr_schedule: see `ExplainerModule`.
        init_from: see `ExplainerModule`; its scaling is kept too.
    """

    explainer: MuLassoExplainer

    def __init__(
        self,
        backbone: BackboneOptions,
        layers: Literal["all", "conv"] | Sequence[str] = "all",
        norm: Literal["l2", "squared"] = "l2",
        normalization: Literal["layer", "whole"] = "layer",
        scaling: Literal["paper", "width", "unit", "standardized"] = "paper",
        mu: float = 10.0,
        solver: Literal["exact", "sgd"] = "exact",
        tol: float = 1e-6,
        heatmaps: int = 5,
        aggregation: Literal["maximum", "sum"] = "maximum",
        stride_one: bool = True,
        pooling: Literal["switches", "resampled"] = "switches",
        sigma: float = 0.0,
        image_size: int = 224,
        lr: float = 1.0,
        momentum: float = 0.9,
        lr_schedule: Literal["constant", "cosine"] = "cosine",
        init_from: str | Path | None = None,
    ) -> None:
        explainer = MuLassoExplainer(
            FrozenBackbone.from_options(backbone),
            layers=layers,
            norm=norm,
            normalization=normalization,
            scaling=scaling,
            mu=mu,
            heatmaps=heatmaps,
            aggregation=aggregation,
            stride_one=stride_one,
            pooling=pooling,
            sigma=sigma,
            image_size=image_size,
        )
        super().__init__(explainer, lr, lr_schedule, init_from)
        self.solver = solver
        self.tol = tol
        self.momentum = momentum
        self.has_scaling = init_from is not None
        self.solution: MuLassoSolution | None = None
        self.fit_: MuLassoFit | None = None
        self.automatic_optimization = solver == "sgd"
        self.register_buffer("curvature", torch.zeros(()))
        self.val_reconstruction = ClassReconstruction(explainer.num_classes)
        self.test_reconstruction = ClassReconstruction(explainer.num_classes)

    curvature: Tensor
    """Largest eigenvalue of the first batch's Hessian; 0 before there was one."""

    @property
    def one_pass(self) -> bool:
        """Whether a datamodule is to give each training sample once, in any order."""
        return self.solver == "exact"

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.one_pass and getattr(self.data, "augment", False):
            raise ValueError(
                "solver exact fits on each training image as it is; set data.init_args.augment: false, or take"
                " model.init_args.solver: sgd."
            )

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.one_pass:
            return None
        optimizer = SGD([self.explainer.weights], lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)
        if self.lr_schedule == "constant":
            return optimizer
        return [optimizer], [CosineAnnealingLR(optimizer, T_max=max(self.trainer.max_epochs or 1, 1))]

    @override
    def on_train_start(self) -> None:
        """Begins the exact fit anew, or learns the scaling that the steps of sgd need."""
        if self.one_pass:
            self.fit_ = self._new_fit()
        elif not self.has_scaling:
            self._learn_scaling()
            self.has_scaling = True

    @override
    def on_train_epoch_start(self) -> None:
        self.train_loss = 0.0

    def training_step(self, batch: Batch) -> Tensor | None:
        """Takes in a batch, or gives the mean squared error of a step."""
        responses, _ = self.features_of(batch)
        if self.fit_ is not None:
            self.fit_.update(responses, batch["label"])
            return None
        labels = label_matrix(batch["label"], self.explainer.num_classes)
        if not self.curvature:
            self.curvature.copy_(largest_curvature(self.explainer.scaling(responses)))
        error = (self.explainer.class_scores(responses) - labels).square().sum() / len(labels)
        self.log("train/squared_error", error.detach(), on_step=False, on_epoch=True, sync_dist=True)
        loss: Tensor = error / self.curvature  # a step of 1 is then the longest that is stable
        return loss

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Projects after each step."""
        if not self.one_pass:
            self.explainer.project()

    @override
    def on_train_epoch_end(self) -> None:
        """Solves the exact problem and ends the training; logs how sparse the weights are."""
        if self.fit_ is not None:
            self._solve(self.fit_)
            self.fit_ = None
            self.trainer.should_stop = True
        selected = (self.explainer.weights.detach() != 0).double()
        self.log("train/filters_per_class", selected.sum(dim=0).mean().float(), rank_zero_only=True)
        self.log("train/filters", selected.any(dim=1).sum().float(), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        """How well the filters reconstruct the classes; no heatmap is drawn, so kept responses are enough."""
        responses, _ = self.features_of(batch)
        self.val_reconstruction.update(self.explainer.class_scores(responses), batch["label"])

    @override
    def on_validation_epoch_end(self) -> None:
        self._log_reconstruction("val", self.val_reconstruction)

    @override
    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        explanation = super().test_step(batch)
        if explanation.reconstruction is not None:
            self.test_reconstruction.update(explanation.reconstruction, batch["label"])
        return explanation

    @override
    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_reconstruction("test", self.test_reconstruction)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["has_scaling"] = self.has_scaling

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.has_scaling = bool(checkpoint.get("has_scaling", True))

    @override
    def facts(self) -> dict[str, Any]:
        """Adds what the solver reached and how many filters it selected."""
        facts = super().facts() | {"filters": len(self.explainer.relevant_filters()), "solver": self.solver}
        if self.solution is not None:
            facts["largest_relative_gap"] = float(self.solution.relative_gap.max())
        return facts

    def _solve(self, fit: MuLassoFit) -> None:
        shown = self.trainer.is_global_zero
        with progress_bar("μ-Lasso", self.explainer.num_classes, shown=shown) as advance:
            self.solution = fit.finish(tol=self.tol, advance=lambda: advance(1))
        # Every rank has solved the same problem; one's last bits are taken by all.
        self.explainer.weights.data.copy_(self.trainer.strategy.broadcast(self.explainer.weights.data.cpu()))
        left = int((~self.solution.converged).sum())
        self.log("train/relative_gap", self.solution.relative_gap.max().float(), rank_zero_only=True)
        if left:
            rank_zero_info(f"{left} classes did not reach a relative duality gap of {self.tol:g}.")

    def _new_fit(self) -> MuLassoFit:
        return MuLassoFit(self.explainer, self._count())

    def _count(self) -> int:
        """Training samples; a guess where the trainer was given bare loaders."""
        if self.data is not None:
            return int(self.data.rows_of("train").sum())
        batches = self.trainer.num_training_batches
        return 0 if math.isinf(batches) else int(batches)

    @torch.no_grad()
    def _learn_scaling(self) -> None:
        """One more pass over the training samples, where the scaling depends on them."""
        explainer = self.explainer
        total = torch.zeros(explainer.responses.num_filters, dtype=torch.float64)
        squares, labels, count = total.clone(), torch.zeros(explainer.num_classes, dtype=torch.float64), 0
        if explainer.scaling.scaling in {"unit", "standardized"}:
            samples = self.data.every_sample("train") if self.data is not None else self.trainer.train_dataloader
            with progress_bar("Scaling", self._count(), shown=self.trainer.is_global_zero) as advance:
                for batch in samples:
                    moved: Any = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
                    responses = self.features_of(moved)[0].double().cpu()
                    total += responses.sum(dim=0)
                    squares += responses.square().sum(dim=0)
                    labels += label_matrix(batch["label"], explainer.num_classes).double().cpu().sum(dim=0)
                    count += len(responses)
                    advance(len(responses))
            sums = [sum_over_ranks(t.to(self.device)).cpu() for t in (total, squares, labels, torch.tensor(count))]
            total, squares, labels, count = (*sums[:3], int(sums[3]))
        explainer.scaling.fit(max(count, 1), total, squares, explainer.responses.widths())
        if explainer.scaling.has_intercept:
            explainer.intercept.copy_(labels / count)

    def _log_reconstruction(self, stage: str, metric: ClassReconstruction) -> None:
        for name, value in metric.compute().items():
            self.log(f"{stage}/{name}", value, rank_zero_only=True)
        metric.reset()


@torch.no_grad()
def largest_curvature(responses: Tensor, iterations: int = 30) -> Tensor:
    """(): largest eigenvalue of 2/B · X Xᵀ over the global batch, by the power method; 1 for responses of zeros.

    Args:
        responses: (B, m), this rank's part of the batch.
        iterations: of the power method.
    """
    rows = sum_over_ranks(responses.new_tensor(float(len(responses))))
    direction = torch.ones(responses.shape[1], device=responses.device, dtype=responses.dtype)
    length = direction.new_ones(())
    for _ in range(iterations):
        direction = sum_over_ranks(responses.T @ (responses @ direction)) * 2 / rows
        length = direction.norm()
        direction = direction / length.clamp(min=torch.finfo(direction.dtype).tiny)
    return length if length > 0 else torch.ones_like(length)
