"""A trainer's progress: where it stands within its fit, and how it is told to go on elsewhere."""

from typing import Any, Protocol

from pytorch_lightning import Trainer


class Progress(Protocol):
    """What a loader of epochs asks of the trainer that draws from it."""

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""

    @property
    def trained_batches(self) -> int | None:
        """Batches of the epoch whose training step has ended; None where nobody counts them."""

    @property
    def is_complete(self) -> bool:
        """Whether the epoch's last batch has been trained on."""

    def order_of(self, epoch: int) -> int:
        """Number of the epoch whose order of samples an epoch has."""

    def limited(self, batches: int) -> int:
        """How many of an epoch's batches are drawn."""

    def resume_after(self, batches: int) -> None:
        """Goes on as if this many batches of the epoch had been trained on."""

    def begin_epoch(self) -> None:
        """Is called when an epoch's first batch, or the first after a resume, is drawn."""


class TrainerProgress:
    """The progress of a Lightning trainer, or of none.

    Args:
        trainer: that draws batches; None where somebody else does.
    """

    def __init__(self, trainer: Trainer | None) -> None:
        self.trainer = trainer

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return 0 if self.trainer is None else self.trainer.current_epoch

    @property
    def trained_batches(self) -> int | None:
        """Batches of the epoch whose training step has ended."""
        return None if self.trainer is None else int(self._counters.processed)

    @property
    def is_complete(self) -> bool:
        """Whether the epoch's last batch has been trained on."""
        if self.trainer is None:
            return False
        is_last_batch = self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        return is_last_batch and bool(self._counters.processed >= self._counters.ready)

    def order_of(self, epoch: int) -> int:
        """Number of the epoch whose order of samples an epoch has: the first one's under ``overfit_batches``.

        Heads that are fitted group by group see the same orders in each group, so that it does not matter in which group a
        head is, and that changes with the number of ranks.
        """
        trainer: Any = self.trainer  # which declares neither
        if trainer is None:
            return epoch
        if trainer.overfit_batches > 0:
            return 0
        return epoch % (getattr(trainer.lightning_module, "epochs_of_group", None) or epoch + 1)

    def limited(self, batches: int) -> int:
        """How many of an epoch's batches ``limit_train_batches`` allows."""
        limit = 1.0 if self.trainer is None else self.trainer.limit_train_batches
        return min(batches, limit) if isinstance(limit, int) else int(batches * (1.0 if limit is None else limit))

    def resume_after(self, batches: int) -> None:
        """Shifts the counters of the current epoch, which the trainer compares with the loader's length.

        A checkpoint that was written with another batch size counts other batches. What the counters say of where in a
        batch it was written, by their differences and by their totals, stays.
        """
        if self.trainer is None:
            return
        current = self._counters
        shift = batches - current.processed
        for name in ("ready", "started", "processed", "completed"):
            setattr(current, name, getattr(current, name) + shift)

    def begin_epoch(self) -> None:
        """Counts the epoch as begun where the trainer has not.

        After a resume from a checkpoint on an epoch's last batch it has not; a checkpoint within the epoch would then look
        like one of a complete epoch, whose loader's state Lightning does not load.
        """
        if self.trainer is None:
            return
        progress = self.trainer.fit_loop.epoch_progress
        count: Any  # Lightning declares a base of it
        for count in (progress.current, progress.total):
            count.ready = max(count.ready, count.completed + 1)
            count.started = max(count.started, count.completed + 1)

    @property
    def _counters(self) -> Any:
        """How many of the epoch's batches are ready, started, processed and completed, in Lightning's words."""
        trainer: Any = self.trainer
        return trainer.fit_loop.epoch_loop.batch_progress.current
