"""StopSignals: ends a run at a batch's end after SIGTERM or SIGUSR1, with a checkpoint, and requeues a SLURM job."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed
from typing_extensions import override

from callbacks.checkpoint import RunCheckpoint
from vitrine.core.checkpoint_files import last_checkpoint
from vitrine.core.distributed import world_size
from vitrine.core.options import checked
from vitrine.core.rank_failures import is_told_first

STOPPING = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """A run that a signal ended.

    Args:
        signum: the signal; the process ends with 128 plus its number, as shells have it: 143 for SIGTERM.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


class StopSignals(Checkpoint):
    """Stops a run after SIGTERM (preemption, ``scancel``, ``kill``) or SIGUSR1 (``sbatch --signal=USR1@90``).

    A signal to any rank stops all of them. A fit goes on to the end of its batch and of its optimiser step, writes a
    checkpoint, and ends; within a validation it ends at once, since a checkpoint was written before it. A test or a
    prediction ends at the batch's end, and leaves what an earlier one wrote as it was. The process never ends with 0 then,
    unless the run was complete. A Checkpoint, so that Lightning calls it after all other callbacks.

    Args:
        requeue: whether SLURM is asked to queue the job again after SIGUSR1; it goes on from the checkpoint by itself.
    """

    @checked
    def __init__(self, requeue: bool = True) -> None:
        self.requeue = requeue
        self.received = 0  # the signal that has come to this process, 0 without one
        self._in_loop = False  # whether batches run, at whose end the signal is looked at
        self._agreed = 0  # the signal at which all ranks stop
        self._process = os.getpid()  # forked workers inherit the handlers

    @contextmanager
    def handled(self, trainer: Trainer) -> Iterator[None]:
        """Within it, signals end the run in order. Lightning's own handlers are left out: they end with 0."""
        connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop  # noqa: SLF001 - there is no public way
        connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
        # Lightning asks rank zero before each batch whether it got SIGTERM; here all ranks are asked after each.
        loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]  # noqa: SLF001 - the same
        self.received = self._agreed = 0
        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._note) for number in STOPPING}
        self._process, self._in_loop = os.getpid(), False
        try:
            yield
        except BaseException:
            end_waiting_ranks(trainer)
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        if os.getpid() != self._process:
            return
        self.received = max(self.received, signum)
        if not self._in_loop:
            self._leave(signum, "before its first batch")

    # In a fit

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._in_loop = True

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        self._agreed = self._agreed or self._agree(trainer)
        # After an epoch's last batch the epoch ends first; gradients that are being summed up are in no checkpoint.
        is_between_steps = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._agreed and is_between_steps and not trainer.is_last_batch:
            self._save_and_stop(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._in_loop = True
        if self._agreed and trainer.state.fn == "fit":
            self._stop_all(trainer)  # a checkpoint was written a moment ago

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._agreed = self._agreed or self._agree(trainer)
        if self._agreed and trainer.current_epoch + 1 != trainer.max_epochs and not trainer.should_stop:
            self._save_and_stop(trainer)

    def _agree(self, trainer: Trainer) -> int:
        """The signal that any rank has got, 0 without one; a collective."""
        if world_size() == 1:
            return self.received
        number = torch.tensor(self.received, device=trainer.strategy.root_device)
        distributed.all_reduce(number, distributed.ReduceOp.MAX)
        return int(number)

    def _save_and_stop(self, trainer: Trainer) -> None:
        # A fit that has not stepped sums up over one pass, of which a checkpoint keeps nothing.
        if trainer.global_step:
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, RunCheckpoint):
                    callback.save(trainer)
        self._stop_all(trainer)

    def _stop_all(self, trainer: Trainer) -> None:
        """Ends the run on all ranks, which are at the same place."""
        if trainer.is_global_zero:
            path = last_checkpoint(trainer.default_root_dir)
            goes_on = f"--ckpt_path auto goes on from {path}" if path.is_file() else "no step was taken yet"
            self._tell(self._agreed, f"after step {trainer.global_step}; {goes_on}")
        raise Stopped(self._agreed)

    # Elsewhere ranks may have unequal numbers of batches, so that they cannot agree at the end of one

    @override
    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if self.received and not trainer.sanity_checking:
            path = last_checkpoint(trainer.default_root_dir)
            goes_on = trainer.state.fn == "fit" and path.is_file()
            self._leave(self.received, "in a validation" + f"; --ckpt_path auto goes on from {path}" * goes_on)

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._in_loop = True

    @override
    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if self.received:
            self._leave(self.received, "in a test, of which nothing is written")

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._in_loop = True

    @override
    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if self.received:
            self._leave(self.received, "in a prediction, of which nothing is written")

    def _leave(self, signum: int, place: str) -> None:
        """Ends this rank; the others learn of it as of a failure."""
        if is_told_first(128 + signum):
            self._tell(signum, place)
        raise Stopped(signum)

    def _tell(self, signum: int, place: str) -> None:
        sys.stderr.write(f"Stopped by {signal.Signals(signum).name} {place}.\n")
        job = slurm_job()
        if signum == signal.SIGUSR1 and self.requeue and job is not None:
            requeue_job(job)


def end_waiting_ranks(trainer: Trainer) -> None:
    """Ends the processes that Lightning started, where they would wait for a group that does not come about."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher) and not distributed.is_initialized():
        launcher.kill(signal.SIGKILL)


def slurm_job() -> str | None:
    """Id of the SLURM job that this process belongs to, with its place in an array; None outside SLURM."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def requeue_job(job: str) -> None:
    """Has SLURM queue a job again, and says so where it does not."""
    try:
        command = ["scontrol", "requeue", job]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - SLURM's own variables
        told = "" if done.returncode == 0 else done.stderr.strip()
    except OSError as error:
        told = str(error)
    outcome = f"could not be requeued: {told}" if told else "is requeued"
    sys.stderr.write(f"The SLURM job {job} {outcome}.\n")


def _nothing() -> None:
    """Stands in for what Lightning does about signals."""
