"""Checkpoints: when they are written, which are kept, and that a run goes on from each as if it had never stopped."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks.checkpoint import RunCheckpoint
from callbacks.health import RestartDeadHeads
from tests.helpers.line_fit import Line, Numbers, numbers, trainer
from vitrine.core.checkpoint_files import best_checkpoint, damage_of, last_checkpoint


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize(("every", "steps", "expected"), [(2, None, [4, 6]), (10, None, [6]), (10, 3, [3, 6, 6])])
def test_a_checkpoint_comes_every_so_often_and_at_the_end(
    every: int, steps: int | None, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    original = pl.Trainer.save_checkpoint

    def save(self: pl.Trainer, path: Path, *args: object, **kwargs: object) -> None:
        saved.append(self.global_step)
        original(self, path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", save)
    trainer(tmp_path, RunCheckpoint(every, steps)).fit(Line(), numbers())
    assert saved == expected
    assert torch.load(last_checkpoint(tmp_path))["global_step"] == 6
    assert len(names(tmp_path)) == min(1 + len(expected), 3)


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    trainer(tmp_path, RunCheckpoint(1, keep_last=2), epochs=4).fit(Line(), numbers())
    assert names(tmp_path) == {"epoch=3-step=8.ckpt", "epoch=4-step=8.ckpt", "last.ckpt"}
    assert last_checkpoint(tmp_path).samefile(tmp_path / "checkpoints" / "epoch=4-step=8.ckpt")


def test_nothing_is_written_of_a_fast_dev_run(tmp_path: Path) -> None:
    trainer(tmp_path, RunCheckpoint(1, 1), fast_dev_run=True).fit(Line(), numbers(), numbers())
    assert not (tmp_path / "checkpoints").exists()


def test_gradients_that_are_summed_up_are_in_no_checkpoint(tmp_path: Path, saved: list[tuple[int, int]]) -> None:
    """Four batches to a step: the three after it stand at the same step, and are not saved once more."""
    batches: DataLoader[Tensor] = DataLoader(torch.ones(8, 1))  # type: ignore[arg-type]
    trainer(tmp_path, RunCheckpoint(10, 1), epochs=1, accumulate_grad_batches=4).fit(Line(), batches)
    assert saved == [(4, 1), (8, 2), (8, 2)]


class Scores(Line):
    """Logs scores that are given, one for each validation or epoch."""

    def __init__(self, scores: list[float], *, validating: bool) -> None:
        super().__init__()
        self.scores, self.validating = scores, validating

    def on_validation_epoch_end(self) -> None:
        self.log("score", self.scores[self.current_epoch])

    def on_train_epoch_end(self) -> None:
        if not self.validating:
            self.log("score", self.scores[self.current_epoch])


@pytest.mark.parametrize("validating", [True, False])
@pytest.mark.parametrize(
    ("mode", "top_k", "best"), [("min", 1, [2]), ("max", 1, [1]), ("min", 2, [2, 4]), ("max", 2, [1, 3])]
)
def test_the_best_are_kept(mode: Any, top_k: int, best: list[int], validating: bool, tmp_path: Path) -> None:
    checkpoint = RunCheckpoint(10, keep_last=1, monitor="score", mode=mode, save_top_k=top_k)
    module = Scores([3.0, 5.0, 1.0, 4.0, 2.0, float("nan")], validating=validating)
    trainer(tmp_path, checkpoint, epochs=6).fit(module, numbers(), numbers() if validating else None)
    kept = {f"epoch={epoch}-step={2 * epoch + 2}.ckpt" for epoch in best}
    assert names(tmp_path) == {*kept, "epoch=6-step=12.ckpt", "last.ckpt", "best.ckpt"}
    assert torch.load(best_checkpoint(tmp_path))["epoch"] == best[0]
    assert Path(checkpoint.best_model_path).samefile(best_checkpoint(tmp_path))
    assert float(checkpoint.best_model_score or 0) == module.scores[best[0]]


def test_a_resumed_run_knows_the_best_so_far(tmp_path: Path) -> None:
    options: dict[str, Any] = {"monitor": "score", "keep_last": 1}
    trainer(tmp_path, RunCheckpoint(10, **options), epochs=2).fit(Scores([1.0, 2.0], validating=False), numbers())
    resumed = trainer(tmp_path, RunCheckpoint(10, **options), epochs=4)
    resumed.fit(Scores([0.0, 0.0, 3.0, 1.5], validating=False), numbers(), ckpt_path=last_checkpoint(tmp_path))
    assert torch.load(best_checkpoint(tmp_path))["epoch"] == 0


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint\.monitor is 'val/los'.*val/loss"):
        trainer(tmp_path, RunCheckpoint(monitor="val/los")).fit(Line(), numbers(), numbers())


class Told(pl.loggers.CSVLogger):
    """Keeps what loggers are told of checkpoints."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        self.told = [*getattr(self, "told", []), Path(checkpoint_callback.last_model_path).stat().st_mtime_ns]
        assert checkpoint_callback.save_top_k == 1


def test_loggers_are_told_of_each_checkpoint(tmp_path: Path) -> None:
    logger = Told(tmp_path)
    trainer(tmp_path, RunCheckpoint(1), epochs=2, logger=logger).fit(Line(), numbers())
    assert len(set(logger.told)) == 3


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Batches that were begun and optimiser steps at each checkpoint."""
    places: list[tuple[int, int]] = []
    original = RunCheckpoint.save

    def save(self: RunCheckpoint, trainer: pl.Trainer) -> None:
        places.append((trainer.fit_loop.epoch_loop.total_batch_idx + 1, trainer.global_step))
        original(self, trainer)

    monkeypatch.setattr(RunCheckpoint, "save", save)
    return places


class Recorded(Line):
    """Keeps what it was trained and validated on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, float]] = []

    def training_step(self, batch: Tensor) -> Tensor:
        self.seen.append(("train", float(batch)))
        return super().training_step(batch)

    def validation_step(self, batch: Tensor) -> None:
        self.seen.append(("val", float(batch)))
        super().validation_step(batch)


class StopAt(pl.Callback):
    """Stops as a killed process does, in a validation of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyError("killed")


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("every_n_steps", [None, 1, 3])
def test_a_run_that_was_stopped_in_a_validation_repeats_that_validation_alone(
    stop: int, every_n_steps: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole = Recorded()
    trainer(tmp_path / "whole", RunCheckpoint(), epochs=4).fit(whole, Numbers(), Numbers(2))
    torch.manual_seed(0)
    first, second = Recorded(), Recorded()
    checkpoints = RunCheckpoint(10, every_n_steps)
    with pytest.raises(KeyError):
        trainer(tmp_path, checkpoints, StopAt(stop), epochs=4).fit(first, Numbers(), Numbers(2))
    assert damage_of(last_checkpoint(tmp_path)) is None
    resumed = trainer(tmp_path, RunCheckpoint(10, every_n_steps), epochs=4)
    resumed.fit(second, Numbers(), Numbers(2), ckpt_path=last_checkpoint(tmp_path))
    assert first.seen[:-1] + second.seen == whole.seen
    assert torch.equal(second.layer.weight, whole.layer.weight)
    assert resumed.global_step == 12


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_goes_on_from_any_step(step: int, tmp_path: Path) -> None:
    """Also from the last of an epoch, and from there within the next."""
    torch.manual_seed(0)
    whole = Recorded()
    trainer(tmp_path / "whole", RunCheckpoint(), epochs=3).fit(whole, Numbers(), Numbers(1))
    torch.manual_seed(0)
    parts = [Recorded(), Recorded(), Recorded()]
    for part, stop in zip(parts, (step, step + 1, 99), strict=True):
        path = last_checkpoint(tmp_path)
        run = trainer(tmp_path, KillAfter(stop), RunCheckpoint(10, 1), epochs=3)
        try:
            run.fit(part, Numbers(), Numbers(1), ckpt_path=path if path.exists() else None)
        except KeyError:
            continue
    trained = [number for part in parts for kind, number in part.seen if kind == "train"]
    assert trained == [number for kind, number in whole.seen if kind == "train"]
    assert torch.equal(parts[-1].layer.weight, whole.layer.weight)


class KillAfter(pl.Callback):
    """Stops at the first moment after a checkpoint of a step, or of the epoch that it ends."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")


def test_the_earlier_checkpoint_stands_while_the_next_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tmp_path, RunCheckpoint(), epochs=1).fit(Line(), numbers())
    before = last_checkpoint(tmp_path).read_bytes()

    def half(self: pl.Trainer, path: Path, *args: object, **kwargs: object) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", half)
    with pytest.raises(OSError, match="No space"):
        trainer(tmp_path, RunCheckpoint(1)).fit(Line(), numbers())
    assert last_checkpoint(tmp_path).read_bytes() == before


def test_restarts_are_counted_on_after_a_checkpoint(tmp_path: Path) -> None:
    health = RestartDeadHeads()
    health.restarts = {3: 2}
    trainer(tmp_path, health, RunCheckpoint(), epochs=1).fit(Line(), numbers())
    resumed = RestartDeadHeads()
    trainer(tmp_path, resumed, RunCheckpoint(), epochs=2).fit(Line(), numbers(), ckpt_path=last_checkpoint(tmp_path))
    assert resumed.restarts == {3: 2}
