"""Signals: a run stops at a place from which it goes on exactly, with an exit code that says so."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.checkpoint import RunCheckpoint
from callbacks.stop_signals import Stopped, StopSignals, slurm_job
from tests.helpers.line_fit import Line, Numbers, SignalAt, numbers, trainer
from tests.helpers.ranks import RankPool
from vitrine.core.checkpoint_files import last_checkpoint


def fit(folder: Path, *callbacks: pl.Callback, validating: bool = False, **options: Any) -> tuple[Line, pl.Trainer]:
    """A fit of three epochs of three batches, which goes on from its folder's checkpoint where there is one."""
    torch.manual_seed(0)
    module, signals = Line(), StopSignals()
    run = trainer(folder, *callbacks, RunCheckpoint(), signals, **options)
    path = last_checkpoint(folder)
    with signals.handled(run):
        run.fit(module, Numbers(), Numbers(2) if validating else None, ckpt_path=path if path.exists() else None)
    return module, run


@pytest.mark.parametrize("validating", [False, True])
@pytest.mark.parametrize(
    ("hook", "call", "step"),
    [
        ("on_train_batch_start", 2, 2),
        ("on_train_batch_start", 3, 3),
        ("on_train_batch_start", 5, 5),
        ("on_train_epoch_start", 2, 4),
        ("on_train_epoch_end", 1, 3),
        ("on_validation_batch_start", 3, 6),
        ("on_validation_start", 1, 3),
    ],
)
def test_a_fit_stops_after_its_step_and_goes_on_exactly(
    hook: str, call: int, step: int, validating: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "validation" in hook and not validating:
        pytest.skip("has no validation")
    whole, _ = fit(tmp_path / "whole", validating=validating)
    with pytest.raises(Stopped) as stopped:
        fit(tmp_path, SignalAt(hook, call), validating=validating)
    assert stopped.value.code == 143
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == step
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Stopped by SIGTERM")]
    assert len(told) == 1
    assert f"--ckpt_path auto goes on from {last_checkpoint(tmp_path)}" in told[0]
    resumed, run = fit(tmp_path, validating=validating)
    assert run.global_step == 9
    assert torch.equal(resumed.layer.weight, whole.layer.weight)


def test_a_checkpoint_callback_of_lightning_beside_it_does_no_harm(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, ModelCheckpoint(tmp_path / "own"), SignalAt("on_train_batch_start", 2))
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == 2


def test_gradients_are_not_lost_where_they_are_summed_up(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, SignalAt("on_train_batch_start", 1), accumulate_grad_batches=2)
    state = torch.load(last_checkpoint(tmp_path))["loops"]["fit_loop"]
    assert state["epoch_loop.batch_progress"]["current"]["ready"] == 2


def test_a_run_that_is_through_ends_well(tmp_path: Path) -> None:
    assert fit(tmp_path, SignalAt("on_train_batch_start", 9))[1].current_epoch == 3


@pytest.mark.parametrize(
    ("command", "hook"), [("validate", "on_validation_batch_start"), ("test", "on_test_batch_start")]
)
def test_other_commands_stop_at_the_end_of_a_batch(
    command: str, hook: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signals, sender = StopSignals(), SignalAt(hook)
    run = trainer(tmp_path, sender, signals)
    with pytest.raises(Stopped) as stopped, signals.handled(run):
        getattr(run, command)(Line(), numbers(), verbose=False)
    assert stopped.value.code == 143
    assert sender.calls == 1
    assert "Stopped by SIGTERM in a" in capsys.readouterr().err


def test_a_signal_before_the_first_batch_ends_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(tmp_path, SignalAt("setup"))
    assert not last_checkpoint(tmp_path).exists()


def test_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    fit(tmp_path)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before


@pytest.mark.parametrize("requeue", [True, False])
def test_slurm_queues_the_job_again_after_sigusr1(
    requeue: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = tmp_path / "called"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    signals = StopSignals(requeue=requeue)
    run = trainer(tmp_path, SignalAt("on_train_batch_start", 2, signal.SIGUSR1), RunCheckpoint(), signals)
    with pytest.raises(Stopped) as stopped, signals.handled(run):
        run.fit(Line(), Numbers())
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == 2
    assert (called.read_text() if called.exists() else None) == ("requeue 4711\n" if requeue else None)
    assert ("4711 is requeued" in capsys.readouterr().err) == requeue
    scontrol.write_text("#!/bin/sh\necho no permission >&2\nexit 1\n")
    signals._tell(signal.SIGUSR1, "here")
    assert ("could not be requeued: no permission" in capsys.readouterr().err) == requeue


def test_an_array_job_is_requeued_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert slurm_job() is None
    for name, value in (("SLURM_JOB_ID", "9"), ("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "3")):
        monkeypatch.setenv(name, value)
    assert slurm_job() == "7_3"


def _fit_on_rank(rank: int, folder: Path) -> tuple[int, int]:
    """Exit code and step of a run of which rank 1 alone gets a signal."""
    signals = StopSignals()
    callbacks = [*([SignalAt("on_train_batch_start", 4)] if rank else []), RunCheckpoint(), signals]
    run = trainer(folder, *callbacks, devices=2, strategy="ddp")
    with pytest.raises(Stopped) as stopped, signals.handled(run):
        run.fit(Line(), Numbers())
    return int(stopped.value.code or 0), run.global_step


def test_a_signal_to_one_rank_stops_all_after_the_same_step(ranks: RankPool, tmp_path: Path) -> None:
    assert ranks.run(_fit_on_rank, tmp_path) == [(143, 4), (143, 4)]
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == 4
