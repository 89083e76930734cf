"""MuLassoModule: selects the filters that each class rests on (Oramas, Wang and Tuytelaars, ICLR 2019)."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from lightning_modules.heads import options_located
from lightning_modules.metric_states import computed, was_updated
from lightning_modules.optimization import CosineToZero
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.distributed import share_of_mean, sum_over_ranks, world_size
from vitrine.core.explanation import Explanation
from vitrine.core.options import Range
from vitrine.core.precision import without_autocast
from vitrine.core.progress import progress_bar
from vitrine.explainers.config_file import read_config
from vitrine.explainers.mu_lasso.explainer import MuLassoExplainer, MuLassoOptions
from vitrine.explainers.mu_lasso.fit import (
    MuLassoFit,
    MuLassoSolution,
    MuLassoTraining,
    ScalingFit,
    check_label_classes,
    label_matrix,
    plan_of,
)
from vitrine.explainers.mu_lasso.fit_plan import FitPlan
from vitrine.explainers.mu_lasso.thresholds import learn_activation_thresholds
from vitrine.metrics import ClassReconstruction
from vitrine.solvers import StreamedMuLasso, StreamedSolution


class MuLassoModule(ExplainerModule):
    """Fits the weights of equation 1, ‖XᵀW − Lᵀ‖² with ‖w_j‖₁ ≤ μ, in one of two ways to the same optimum.

    ``exact`` takes in each training sample once, then solves all classes to a certified duality gap; training ends after
    that one epoch. ``sgd`` takes variance-reduced mini-batch steps, each followed by the projection onto the ℓ1 ball, and at
    the end of each epoch a proximal Newton step on a working set of filters (`StreamedMuLasso`); it ends as soon as the
    duality gap of an epoch is at most ``tol``: for data that are too many or still growing, and to fine-tune the weights of
    ``init_from`` on a new set.

    Args:
        backbone: the classifier to be explained.
        mu_lasso: which filters are features, μ, and how the selected ones are drawn. With an activation threshold above 0,
            up to 2,000 training images are streamed once more at the end, to learn what is usual.
        training: how the weights are fitted.
        optimizer: of the mini-batch steps of ``sgd``; a learning rate of 1 is the largest that is stable for the first batch.
            Its momentum begins anew with each epoch.
        lr_scheduler: of ``sgd``, see `ExplainerModule`.
        init_from: see `ExplainerModule`; its scaling is kept too, and so is its intercept where the classes are the same.
        kwargs: those of `ExplainerModule`: names.

    Raises:
        ValueError: where ``init_from`` was fitted on responses of another kind.
    """

    explainer: MuLassoExplainer
    learning_rates = Range(above=0)

    def __init__(
        self,
        backbone: BackboneOptions,
        mu_lasso: MuLassoOptions = MuLassoOptions(),  # noqa: B008 - frozen
        training: MuLassoTraining = MuLassoTraining(),  # noqa: B008 - frozen
        optimizer: OptimizerCallable = lambda weights: SGD(weights, lr=1.0, momentum=0.9, nesterov=True),
        lr_scheduler: LRSchedulerCallable | None = lambda optimizer: CosineToZero(optimizer),  # noqa: PLW0108 - read by jsonargparse
        init_from: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        network = FrozenBackbone.from_options(backbone)
        with options_located("model.init_args.mu_lasso"):
            explainer = MuLassoExplainer(network, mu_lasso)
        super().__init__(explainer, optimizer, lr_scheduler, init_from, **kwargs)
        if init_from is not None:
            _check_same_responses(explainer.options, Path(init_from))
        self.fit_options = training
        self.has_scaling = init_from is not None
        self.has_weights = init_from is not None
        self.solution: MuLassoSolution | StreamedSolution | None = None
        self.unsolved: MuLassoFit | None = None
        self.streamed: StreamedMuLasso | None = None
        self._streamed_state: dict[str, Tensor] = {}
        self.automatic_optimization = training.solver == "sgd"
        self.register_buffer("curvature", torch.zeros(()))
        self.val_reconstruction = ClassReconstruction(explainer.num_classes)
        self.test_reconstruction = ClassReconstruction(explainer.num_classes)

    curvature: Tensor
    """Largest eigenvalue of the first batch's Hessian; 0 before there was one."""

    @property
    @override
    def one_pass(self) -> bool:
        return self.fit_options.solver == "exact"

    @override
    def setup(self, stage: str) -> None:
        """Refuses what cannot be fitted before anything is computed."""
        super().setup(stage)
        if stage == "fit" and self.data is not None and not self.data.classes:
            check_label_classes(0, self.explainer.num_classes, multi_label=True)
        if stage == "fit" and self.one_pass:
            self._check_exact()

    def _check_exact(self) -> None:
        if self.training_data is not None and self.training_data.augment:
            raise ValueError(
                "training.solver exact fits on each training image as it is; set data.init_args.loading.augment: false, or"
                " take model.init_args.training.solver: sgd."
            )
        if self.has_weights:
            raise ValueError(
                "training.solver exact does not go on from the weights of model.init_args.init_from; leave it out, or take"
                " model.init_args.training.solver: sgd."
            )
        if self.training_data is not None:
            plan_of(self.explainer, self._count()).check()

    @property
    def fit_plan(self) -> FitPlan | None:
        """How the exact fit takes in its samples; None of ``sgd``, and where nobody knows their number."""
        if not (self.one_pass and self.training_data is not None):
            return None
        filters, classes = self.explainer.weights.shape
        return FitPlan.here(self._count(), filters, classes, self.trainer.world_size, self.trainer.num_devices)

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.one_pass:
            return None
        return super().configure_optimizers()

    @override
    def parameter_groups(self) -> Iterable[nn.Parameter]:
        return [self.explainer.weights]

    @override
    def on_train_start(self) -> None:
        """Begins the exact fit anew, or learns the scaling that the steps of sgd need."""
        super().on_train_start()
        if self.one_pass:
            self.unsolved = MuLassoFit(self.explainer, self._count())
            return
        if not self.has_scaling:
            self._learn_scaling()
            self.has_scaling = True
        elif self.current_epoch == 0 and not self.is_restored and self._has_other_classes:
            self._learn_intercept()
        self.explainer.project()  # the ball may be smaller than that of init_from, or of the fit that goes on
        self.streamed = self._begun_stream()

    def training_step(self, batch: Batch) -> Tensor | None:
        """Takes in a batch, or gives the mean squared error of a step."""
        if self.unsolved is not None:
            if len(batch["label"]):  # a rank that has fewer samples than others ends with none
                self.unsolved.update(self.features_of(batch)[0], batch["label"])
            return None
        responses, _ = self.features_of(batch)
        labels = label_matrix(batch["label"], self.explainer.num_classes)
        if not self.curvature:
            self.curvature.copy_(largest_curvature(self.explainer.scaling(responses)))
        scores = self.explainer.class_scores(responses)
        error = (scores - labels).square().sum()
        self.log_means({"train/squared_error": error.detach() / max(len(labels), 1)}, len(labels))
        # A step of 1 is then the longest that is stable.
        return self._variance_reduced(responses, labels, scores, error) / self.curvature

    def _variance_reduced(self, responses: Tensor, labels: Tensor, scores: Tensor, error: Tensor) -> Tensor:
        """A loss with the gradient of the mean squared error, exact at the weights of which the last epoch's is known."""
        if self.streamed is None:
            return error * share_of_mean(labels)
        x = self.explainer.scaling(responses.detach().to(_widest(responses.device)))
        intercept = self.explainer.intercept
        if not self.streamed.has_gradient:
            loss = error * share_of_mean(labels)
        else:
            moved = scores - intercept - self.streamed.scores(x).to(scores)
            slope = (self.explainer.weights * self.streamed.gradient.to(scores)).sum()
            loss = moved.square().sum() * share_of_mean(labels) + slope
        self.streamed.update(x, labels - intercept)
        return loss

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Projects after each step, before anybody sees the weights or writes a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        try:
            self.explainer.project()
        except ValueError:
            self.check_steps()  # says what was not finite first, and where
            raise
        if self.streamed is not None and self.trainer.is_last_batch:
            self._end_pass(self.streamed)

    def _end_pass(self, streamed: StreamedMuLasso) -> None:
        """Takes the step of an epoch, before a checkpoint or the validation sees the weights."""
        self.solution = streamed.step(self.explainer.weights, self.fit_options.tol)
        self.explainer.weights.data.copy_(self.solution.weights)
        forget_momentum(self.trainer.optimizers)
        if self.solution.converged.all():
            self.trainer.should_stop = True

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Solves after the last batch of the exact fit: validation comes before the epoch ends."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.one_pass and self.trainer.is_last_batch:
            self._solve()

    @override
    def on_train_epoch_end(self) -> None:
        """Ends the training of the exact fit; logs how sparse the weights are."""
        super().on_train_epoch_end()
        if self.one_pass:
            self._solve()
            self.trainer.should_stop = True
        elif self.training_ends:
            self._learn_activation_thresholds()
            if self.solution is not None:
                self._tell_unsolved(self.solution.converged)
        if self.solution is not None and self.solution.relative_gap.isfinite().all():
            self.log("train/relative_gap", self.solution.relative_gap.max().float(), rank_zero_only=True)
        selected = (self.explainer.weights.detach() != 0).double()
        self.log("train/filters_per_class", selected.sum(dim=0).mean().float(), rank_zero_only=True)
        self.log("train/filters", selected.any(dim=1).sum().float(), rank_zero_only=True)

    def validation_step(self, batch: Batch) -> None:
        """How well the filters reconstruct the classes; no heatmap is drawn, so stored responses are enough."""
        responses, _ = self.features_of(batch)
        self.val_reconstruction.update(self.explainer.class_scores(responses), batch["label"])

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._log_reconstruction("val", self.val_reconstruction)

    @override
    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        explanation = super().test_step(batch)
        if explanation.class_scores is not None and batch["label"].numel():
            self.test_reconstruction.update(explanation.class_scores, batch["label"])
        return explanation

    @override
    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self._log_reconstruction("test", self.test_reconstruction)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["has_scaling"] = self.has_scaling
        if self.streamed is not None:
            checkpoint["streamed"] = self.streamed.state()

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.has_scaling = bool(checkpoint.get("has_scaling", True))
        self._streamed_state = checkpoint.get("streamed", {})

    @override
    def metadata(self) -> dict[str, Any]:
        """Adds what the solver reached and how many filters it selected."""
        metadata = super().metadata() | {
            "filters": len(self.explainer.relevant_filters()),
            "solver": self.fit_options.solver,
        }
        if self.solution is not None and self.solution.relative_gap.isfinite().all():
            metadata["largest_relative_gap"] = float(self.solution.relative_gap.max())
        return metadata

    def _begun_stream(self) -> StreamedMuLasso:
        """Begins the epochs' sums at the weights, or goes on with those of a checkpoint."""
        weights, options = self.explainer.weights.detach(), self.explainer.options
        device = weights.device if _widest(weights.device) == torch.float64 else torch.device("cpu")
        filters, classes = weights.shape
        streamed = StreamedMuLasso(filters, classes, options.mu, self.fit_options.working_set, weights, device)
        if self._streamed_state and float(self._streamed_state["mu"]) == options.mu:
            streamed.load(self._streamed_state)
        self._streamed_state = {}
        return streamed

    def _tell_unsolved(self, converged: Tensor) -> None:
        if not converged.all():
            left = int((~converged).sum())
            rank_zero_info(f"{left} classes did not reach a relative duality gap of {self.fit_options.tol:g}.")

    def _solve(self) -> None:
        """Solves what was taken in and not solved yet, on all ranks together."""
        if self.unsolved is None:
            return
        fit, self.unsolved = self.unsolved, None
        with progress_bar("μ-Lasso", self.explainer.num_classes, shown=self.trainer.is_global_zero) as advance:
            solution = fit.finish(tol=self.fit_options.tol, advance=lambda: advance(world_size()))  # all are as far
        self.solution = solution
        self._learn_activation_thresholds()
        self._tell_unsolved(solution.converged)

    def _count(self) -> int:
        """Number of training samples; an estimate where the trainer has bare loaders."""
        if self.training_data is not None:
            return self.training_data.num_samples("train")
        batches = self.trainer.num_training_batches
        return 0 if math.isinf(batches) else int(batches)

    def _learn_scaling(self) -> None:
        """Learns the scaling, by one more pass over the training samples where it depends on them."""
        fit = ScalingFit(self.explainer)
        if not fit.needs_samples:
            fit.finish()
            return
        with progress_bar("Scaling", self._count(), shown=self.trainer.is_global_zero) as advance:
            for batch in self._training_samples():
                moved = self.moved(batch)
                fit.update(self.features_of(moved)[0], batch["label"])
                advance(len(batch["label"]))
        fit.finish()

    @property
    def _has_other_classes(self) -> bool:
        inheritance = None if self.inherited is None else self.inherited.inheritance
        return inheritance is not None and not inheritance.is_identity

    @torch.no_grad()
    def _learn_intercept(self) -> None:
        """The classes' shares in the training samples, where the scaling needs an intercept."""
        if not self.explainer.scaling.has_intercept:
            return
        total, count = torch.zeros(self.explainer.num_classes, dtype=torch.float64), 0
        for batch in self._training_samples():
            total += label_matrix(self.moved(batch)["label"], self.explainer.num_classes).cpu().double().sum(dim=0)
            count += len(batch["label"])
        sums = torch.cat([total, total.new_tensor([count])]).float().to(self.device)
        *of_classes, samples = sum_over_ranks(sums)
        self.explainer.intercept.copy_(torch.stack(of_classes) / samples.clamp(min=1))

    def _learn_activation_thresholds(self) -> None:
        if self.explainer.options.activation_threshold:
            learn_activation_thresholds(self.explainer, (batch["image"] for batch in self._training_images()))

    def _training_samples(self) -> Iterable[Batch]:
        data = self.training_data
        return self.trainer.train_dataloader or () if data is None else data.every_sample("train")

    def _training_images(self) -> Iterable[Batch]:
        data = self.training_data
        return self.trainer.train_dataloader or () if data is None else data.every_image("train")

    def _log_reconstruction(self, stage: str, metric: ClassReconstruction) -> None:
        if not was_updated(metric):
            return
        for name, value in computed(metric).items():
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
    # Drawn, as ones would be next to orthogonal to centred responses: those of a layer add up to a constant.
    direction = torch.randn(responses.shape[1], generator=torch.Generator().manual_seed(0)).to(responses)
    length = direction.new_ones(())
    with without_autocast(responses):
        for _ in range(iterations):
            direction = sum_over_ranks(responses.T @ (responses @ direction)) * 2 / rows
            length = direction.norm()
            direction = direction / length.clamp(min=torch.finfo(direction.dtype).tiny)
    return length if length > 0 else torch.ones_like(length)


def forget_momentum(optimizers: Iterable[Optimizer]) -> None:
    """Sets what optimizers remember of earlier steps to zero, their counts of steps apart."""
    remembered = (state for optimizer in optimizers for state in optimizer.state.values())
    for name, value in (item for state in remembered for item in state.items()):
        if isinstance(value, Tensor) and name != "step":
            value.zero_()


def _widest(device: torch.device) -> torch.dtype:
    """The widest type of floating-point numbers that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64


def _check_same_responses(options: MuLassoOptions, folder: Path) -> None:
    """Raises ValueError where an exported explainer's weights are of other features than those of ``options``."""
    saved, here = MuLassoOptions.from_dict(read_config(folder)["options"]).to_dict(), options.to_dict()
    for name in ("layers", "norm", "normalization", "scaling"):
        if saved[name] != here[name]:
            raise ValueError(
                f"{folder} was fitted with {name} {saved[name]}; set model.init_args.mu_lasso.{name} to the same."
            )
