"""ResumableModule: a LightningModule whose fit goes on from a checkpoint as if it had never stopped."""

import os
import random
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

from lightning_modules.checkpoint_entries import check_entries, check_tensors
from lightning_modules.epoch_means import EpochMeans
from lightning_modules.finite_fit import FiniteFitModule
from lightning_modules.heads import first_difference
from lightning_modules.metric_states import summed_state, take_over_state
from lightning_modules.optimization import ConstructorDefault, configured
from lightning_modules.optimizer_resume import (
    Options,
    check_same_numbers,
    check_same_optimizer,
    check_shapes,
    class_of,
    options_of,
    set_schedules,
    take_over_changes,
)
from vitrine.core.distributed import gather_over_ranks

T = TypeVar("T")
INJECTED = ("optimizer", "lr_scheduler")

Resumed = dict[str, Any]
"""What a checkpoint holds beside the weights and the trainer's own state."""


class ResumableModule(FiniteFitModule):
    """What the fits of all modules have in common, so that stopping and resuming changes nothing.

    - The random numbers of a step (dropout, noise) follow from the seed of the fit, the number of the step and the rank.
    - Metrics and means that are accumulated over a training epoch are in the checkpoint, summed over ranks.
    - Modes are set when training begins: Lightning calls no epoch hook where a fit goes on within an epoch.
    - Options of the optimizer that are configured anew hold from the resume on; another optimizer is refused.
    - DistributedDataParallel sends no buffers around: those that differ between ranks are the module's own business, and a
      rank without a validation batch would leave the others waiting.
    """

    optimizer: OptimizerCallable
    lr_scheduler: LRSchedulerCallable | None
    shows_means: ClassVar[bool] = False
    """Whether the progress bar shows the means of an epoch."""
    learned: ClassVar[str] = "weights"
    """What a checkpoint holds, as a message calls it."""

    def __init__(self) -> None:
        super().__init__()
        self._fit_seed: int | None = None
        self._configured: list[Options] = []
        self._optimizer_class = ""
        self._interval = "epoch"  # of the schedule's steps
        self._resumed: Resumed = {}
        self._saved_counts: tuple[int, int] | None = None  # of the optimizers and schedules in the checkpoint
        self._epoch_means = EpochMeans()
        self.step_means: Mapping[str, Tensor] = {}
        """Losses of the last training step on this rank, for a progress bar."""

    def __getstate__(self) -> dict[str, Any]:
        """For processes that are spawned, as ``ddp_spawn`` does."""
        state: dict[str, Any] = super().__getstate__()
        defaults = {name: ConstructorDefault.of(state[name], type(self), name) for name in INJECTED if name in state}
        return {**state, **{name: default for name, default in defaults.items() if default is not None}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        defaults = {name: value.value() for name, value in state.items() if isinstance(value, ConstructorDefault)}
        super().__setstate__({**state, **defaults})  # type: ignore[no-untyped-call]

    # How long a fit is

    @property
    def checkpoint_name(self) -> str:
        """The checkpoint that the trainer reads, as a message calls it."""
        return str((self._trainer and self._trainer.ckpt_path) or "The checkpoint")

    @property
    def scheduled_epochs(self) -> int | None:
        """Epochs that bound the fit; None where steps or time do."""
        epochs = self.trainer.max_epochs
        return None if self.trainer.max_steps >= 0 or epochs is None or epochs < 0 else epochs

    @property
    def scheduled_steps(self) -> int | None:
        """Steps of the optimizer that bound the fit; None where epochs or time do."""
        trainer = self.trainer
        if trainer.max_steps < 0:
            return None
        bounded_by_both = trainer.max_epochs is not None and trainer.max_epochs >= 0
        return int(trainer.estimated_stepping_batches) if bounded_by_both else trainer.max_steps

    @property
    def epoch_of_schedule(self) -> int:
        """The epoch that begins or goes on now, as the schedule counts it."""
        return self.trainer.current_epoch

    def share_done(self) -> float:
        """The share of the fit that is done when the current epoch ends, from 0 to 1; 0 for a fit without a bound."""
        if self.scheduled_epochs is not None:
            return (self.epoch_of_schedule + 1) / max(self.scheduled_epochs, 1)
        if self.scheduled_steps is not None:
            return self.trainer.global_step / max(self.scheduled_steps, 1)
        return self._share_of_time()

    def _share_of_time(self) -> float:
        timers = (callback for callback in self.trainer.callbacks if isinstance(callback, Timer))  # type: ignore[attr-defined]
        remaining = [(timer.time_elapsed(), timer.time_remaining()) for timer in timers]
        bounded = [elapsed / max(elapsed + left, 1e-9) for elapsed, left in remaining if left is not None]
        return min(max(bounded, default=0.0), 1.0)

    # The optimizer

    def parameter_groups(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """The parameters that are trained, or the optimizer's groups of them."""
        return [value for value in self.parameters() if value.requires_grad]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over `parameter_groups`, with its schedule."""

        def optimizer(parameters: Any) -> torch.optim.Optimizer:
            made = self.optimizer(parameters)
            if self.trainer.gradient_clip_val and isinstance(self.trainer.precision_plugin, MixedPrecision):
                _unscale_outside(made)
            return made

        built = configured(
            optimizer,
            self.lr_scheduler,
            self.parameter_groups(),
            epochs=self.scheduled_epochs,
            steps=self.scheduled_steps,
            share_done=self._share_of_time,
        )
        made = _optimizer_of(built)
        self._configured, self._optimizer_class = options_of(made), class_of(made)
        self._interval = "step" if self.scheduled_epochs is None else "epoch"
        return built

    def forget_moments(self, module: nn.Module) -> None:
        """Has the optimizer begin anew with a module's parameters."""
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for parameter in module.parameters():
                optimizer.state.pop(parameter, None)

    # The run

    @override
    def setup(self, stage: str) -> None:
        """Prepares a fit.

        Raises:
            ValueError: for half precision weights, whose steps would be lost.
        """
        if stage == "fit":
            if self.trainer.precision in {"16-true", "bf16-true"}:
                raise ValueError(
                    f"trainer.precision {self.trainer.precision} cannot train: steps smaller than the weights' rounding are"
                    f" lost; set trainer.precision: {self.trainer.precision.replace('true', 'mixed')}, which keeps weights in"
                    " float32, or use it in test and predict alone."
                )
            # The name that torch reads.
            self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self.train()
        if self._fit_seed is None:
            self._fit_seed = self._drawn_seed()
        if self._resumed and self.trainer.optimizers and self._configured:
            check_shapes(self.trainer, self.checkpoint_name)
            of_ranks = self._resumed.get("optimizer_options") or [self._configured]
            saved = of_ranks[self.global_rank if len(of_ranks) == self.trainer.world_size else 0]
            take_over_changes(self.trainer, saved, self._configured)
            if self._interval != self._resumed.get("interval", self._interval):
                set_schedules(self.trainer, self.epoch_of_schedule)
        self._epoch_means.load(self._resumed.get("epoch_means", {}), self.device)  # which it has reached by now
        self._resumed = {}

    def _drawn_seed(self) -> int:
        given = os.environ.get("PL_GLOBAL_SEED")
        seed = int(given) if given else torch.initial_seed()
        return int(self.trainer.strategy.broadcast(seed))

    @override
    def on_train_epoch_start(self) -> None:
        self._epoch_means.reset()
        for metric in self.training_metrics().values():
            metric.reset()

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        step = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        entropy = [(self._fit_seed or 0) % 2**63, step, self.global_rank]
        (seed,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64).tolist()
        # torch.manual_seed would queue a call for each kind of device that is not in use, with a stack trace.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - what a step calls may draw from the global one

    def log_means(self, means: Mapping[str, Tensor], count: int) -> None:
        """Logs, when the training epoch ends, means over it and all ranks of values that are means over a part of a batch.

        Args:
            means: values of this rank's part by name, the same names on every rank.
            count: what they count for: the samples of this rank's part, of which there may be none.
        """
        self._epoch_means.update(means, count)
        if count:
            self.step_means = {name: value.detach() for name, value in means.items()}
            self.watch(means)

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        trainer = self.trainer
        # Before the epoch's end, when the progress bar shows what was logged until then.
        if trainer.is_last_batch or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step:
            self._log_epoch_means()

    @override
    def on_train_epoch_end(self) -> None:
        self._log_epoch_means()  # of an epoch that a validation ended

    def _log_epoch_means(self) -> None:
        # Computed over all ranks, so every rank logs the same figures; one value, whatever the last batch has.
        means = self._epoch_means.compute()
        self.log_dict(means, prog_bar=self.shows_means, on_step=False, on_epoch=True, batch_size=1, rank_zero_only=True)

    def moved(self, batch: T) -> T:
        """A batch of the module's own pass over the data, on its device and in the trainer's precision."""
        converted = self.trainer.precision_plugin.convert_input(batch)
        moved: T = self.trainer.strategy.batch_to_device(converted, self.device)
        return moved

    def training_metrics(self) -> Mapping[str, Metric]:
        """Metrics of sums that are accumulated over a training epoch, by a name of their own."""
        return {}

    # Checkpoints

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["fit"] = {
            "seed": self._fit_seed,
            "optimizer": self._optimizer_class,
            "interval": self._interval,
            "optimizer_options": gather_over_ranks(self._configured),  # a rank may have heads of its own
            "epoch_means": self._epoch_means.state(),
            "training_metrics": {name: summed_state(metric) for name, metric in self.training_metrics().items()},
        }

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes over a checkpoint's tensors.

        Raises:
            ValueError: where they are of something else, or not finite.
        """
        own = self.state_dict()
        check_tensors(own, state_dict, self.checkpoint_name)
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            raise ValueError(
                f"{self.checkpoint_name} holds other {self.learned} than this {type(self).__name__}:"
                f" {first_difference(own, state_dict)}; give the model.init_args that it was trained with,"
                " which stand in config-fit.yaml of its run, or another --ckpt_path or trainer.default_root_dir."
            ) from error

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        is_fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        check_entries(checkpoint, self.checkpoint_name, fitting=is_fitting)
        if not is_fitting and self._trainer is not None and "loops" in checkpoint:
            # The figures of a test are those of the step that its checkpoint was written at.
            self.trainer.fit_loop.load_state_dict(checkpoint["loops"]["fit_loop"])
        self._saved_counts = len(checkpoint.get("optimizer_states", ())), len(checkpoint.get("lr_schedulers", ()))
        self._resumed = checkpoint.get("fit", {})
        self._fit_seed = self._resumed.get("seed")
        states = self._resumed.get("training_metrics", {})
        for name, metric in self.training_metrics().items():
            if name in states:
                take_over_state(metric, states[name])

    @override
    def on_fit_start(self) -> None:
        if self._configured and not any(group["lr"] for group in self._configured):
            rank_zero_warn("model.init_args.optimizer.init_args.lr is 0: the fit takes steps that change nothing.")
        if self._saved_counts is not None:
            check_same_numbers(self.trainer, *self._saved_counts, self.checkpoint_name)
            self._saved_counts = None
        if self._resumed:
            check_same_optimizer(self._resumed.get("optimizer"), self._optimizer_class, self.checkpoint_name)


def _unscale_outside(optimizer: torch.optim.Optimizer) -> None:
    """Takes the fused step off an optimizer: it unscales gradients itself, too late for them to be clipped."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            group["fused"] = False
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # noqa: SLF001 - what GradScaler asks


def _optimizer_of(built: Any) -> torch.optim.Optimizer:
    if isinstance(built, torch.optim.Optimizer):
        return built
    made: torch.optim.Optimizer = built["optimizer"] if isinstance(built, dict) else built[0][0]
    return made
