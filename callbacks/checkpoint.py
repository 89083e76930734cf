"""RunCheckpoint: writes a run's checkpoints, the last ones and the best ones by a metric."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from weakref import proxy

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import override

from callbacks.run_access import is_trial
from vitrine.core.checkpoint_files import OF_A_STEP, best_checkpoint, checkpoint_of, last_checkpoint
from vitrine.core.options import Count, checked

VALIDATION_PROGRESS = "epoch_loop.val_loop.batch_progress"
"""Where a checkpoint says how far the validation within a fit is."""


class RunCheckpoint(Checkpoint):
    """Writes ``checkpoints/`` in the run's folder: ``last.ckpt``, the ones before it, and ``best.ckpt`` by a metric.

    A checkpoint is called ``epoch=E-step=S.ckpt``; ``last.ckpt`` and ``best.ckpt`` are further names of the newest and the
    best, which take no space of their own. Each is complete before it gets its name, and an earlier one stands until then.
    They are written every so often, before a validation within a fit, and at the end. Lightning's restart loses its place
    where a checkpoint is taken at the end of an epoch's last batch, so one that is due there is written when the epoch ends.

    Args:
        every_n_epochs: how often; after the last epoch always.
        every_n_steps: also within an epoch, where given.
        keep_last: how many of the newest are kept.
        monitor: name of a logged metric by which the best are kept, such as ``val/f_reg``.
        mode: whether the best has the smallest or the largest value.
        save_top_k: how many of the best are kept.

    Raises:
        ValueError: for a number below 1; at the end of an epoch, for a metric that is not logged.
    """

    # As loggers that keep checkpoints ask for them, by the names of Lightning's ModelCheckpoint.
    save_last = True
    save_weights_only = False

    @checked
    def __init__(
        self,
        every_n_epochs: Count = 10,
        every_n_steps: Count | None = None,
        keep_last: Count = 2,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
        save_top_k: Count = 1,
    ) -> None:
        self.every_n_epochs, self.every_n_steps, self.keep_last = every_n_epochs, every_n_steps, keep_last
        self.monitor, self.mode, self.save_top_k = monitor, mode, save_top_k
        self.last_model_path = ""
        self.best_model_path = ""
        self.best_model_score: Tensor | None = None
        self.current_score: Tensor | None = None
        self.best_k_models: dict[str, Tensor] = {}
        self._saved_step = 0  # optimiser steps at the newest checkpoint within an epoch
        self._due = False  # whether one is to be written when the epoch ends
        self._validated = False  # whether a validation ended since the metric was looked at
        self._before_validation = False  # whether the one that is being written is taken there
        self._restored: dict[str, Tensor] = {}  # scores of the best, by the names of their files

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        # A fit without optimiser steps stays at step 0; batches whose gradients are accumulated stay at the step before.
        step = trainer.global_step
        if not self.every_n_steps or not step or step % self.every_n_steps or step == self._saved_step:
            return
        self._saved_step = step
        if trainer.is_last_batch:
            self._due = True
        else:
            self.save(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A validation may take longer than a process that is told to end is given. A fit without steps has nothing to keep.
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.global_step:
            self._before_validation = True
            self.save(trainer)
            self._before_validation = False

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = self._validated or not trainer.sanity_checking

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = self._new_score(trainer)
        best = score is not None and self._is_among_best(score)
        if score is not None and best:
            self._take_as_best(trainer, score)
        if self._due or best or (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self.save(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)
        if self.monitor is not None and not self.best_k_models and not is_trial(trainer):
            rank_zero_warn(
                f"checkpoint.monitor {self.monitor!r} had no finite value in this fit, so that there is no best.ckpt; give"
                " trainer.check_val_every_n_epoch at most the number of epochs, or another monitor."
            )

    def save(self, trainer: Trainer) -> None:
        """Writes a checkpoint; all ranks take part. Nothing is written of a ``fast_dev_run``."""
        self._due = False
        if is_trial(trainer):
            return
        path = checkpoint_of(trainer.default_root_dir, trainer.current_epoch, trainer.global_step)
        partial = path.with_name(f".{path.name}.partial")
        self.last_model_path = str(last_checkpoint(trainer.default_root_dir))
        path.parent.resolve().mkdir(parents=True, exist_ok=True)  # also where a link leads to nothing yet
        trainer.save_checkpoint(partial, weights_only=False)  # with None Lightning prints that it is False
        if trainer.is_global_zero:
            partial.replace(path)
            self._name_and_prune(trainer, path)
            for logger in trainer.loggers:
                logger.after_save_checkpoint(proxy(self))
        trainer.strategy.barrier("checkpoint")

    def _name_and_prune(self, trainer: Trainer, newest: Path) -> None:
        add_name(newest, last_checkpoint(trainer.default_root_dir))
        best = Path(self.best_model_path)
        if self.best_model_path and best.is_file():
            add_name(best, best_checkpoint(trainer.default_root_dir))
        by_age = sorted(newest.parent.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        others = [path for path in by_age if OF_A_STEP.fullmatch(path.name) and path != newest]
        for path in others[self.keep_last - 1 :]:
            if str(path) not in self.best_k_models:
                path.unlink(missing_ok=True)
        for leftover in newest.parent.glob(".*.partial"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)

    def _new_score(self, trainer: Trainer) -> Tensor | None:
        """The monitored metric where it is new in this epoch: the trainer keeps that of an earlier validation."""
        if self.monitor is None:
            return None
        score = trainer.callback_metrics.get(self.monitor)
        if score is None:
            if self._validated or not trainer.enable_validation:
                known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
                raise ValueError(f"checkpoint.monitor is {self.monitor!r}, which is not logged; give one of: {known}.")
            return None
        score = score.detach().cpu().clone()
        seen = self.current_score is not None and bool(score == self.current_score)
        is_new = self._validated or not seen
        self._validated = False
        self.current_score = score
        return score if is_new else None

    def _is_among_best(self, score: Tensor) -> bool:
        if not score.isfinite():
            return False
        return len(self.best_k_models) < self.save_top_k or self._rank(score) < max(
            map(self._rank, self.best_k_models.values())
        )

    def _take_as_best(self, trainer: Trainer, score: Tensor) -> None:
        """Before the checkpoint is written, since this state is part of it."""
        path = checkpoint_of(trainer.default_root_dir, trainer.current_epoch, trainer.global_step)
        scores = {**self.best_k_models, str(path): score}
        ordered = sorted(scores, key=lambda name: self._rank(scores[name]))
        self.best_k_models = {name: scores[name] for name in ordered[: self.save_top_k]}
        self.best_model_path, self.best_model_score = ordered[0], scores[ordered[0]]

    def _rank(self, score: Tensor) -> float:
        return float(score) if self.mode == "min" else -float(score)

    # What a resumed run goes on with

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._before_validation:
            # As Lightning leaves it where a validation stopped before its first batch was through; with the state that it
            # really has here, Lightning would go on without the validation.
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = checkpoint["loops"]["fit_loop"][VALIDATION_PROGRESS]
            checkpoint["loops"]["fit_loop"][VALIDATION_PROGRESS] = progress | {"total": begun, "current": dict(begun)}

    @override
    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "best_k_models": {Path(path).name: score for path, score in self.best_k_models.items()},
            "current_score": self.current_score,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (state_dict.get("monitor"), state_dict.get("mode")) != (self.monitor, self.mode) or self.monitor is None:
            return
        self._restored = state_dict["best_k_models"]
        self.current_score = state_dict["current_score"]

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step
        folder = last_checkpoint(trainer.default_root_dir).parent
        for name, score in self._restored.items():
            if (folder / name).is_file():  # not where a run goes on in another folder
                self.best_k_models[str(folder / name)] = score
        if self.best_k_models:
            self.best_model_path, self.best_model_score = next(iter(self.best_k_models.items()))


def add_name(path: Path, name: Path) -> None:
    """Gives a file a further name, in place of what had it; a copy where the file system has no hard links."""
    partial = name.with_name(f".{name.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:
        shutil.copy2(path, partial)
    partial.replace(name)
    with suppress(FileNotFoundError):  # renaming does nothing where both names are of one file already
        partial.unlink()
