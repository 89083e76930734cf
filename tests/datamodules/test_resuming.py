import itertools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from callbacks.checkpoint import RunCheckpoint
from tests.helpers import shard_fakes as fakes
from vitrine.core.checkpoint_files import last_checkpoint


class KeepAll(Checkpoint):
    """Checkpoints wherever training may be interrupted, each with the number of batches seen until then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[tuple[Path, int]] = []

    def keep(self, trainer: pl.Trainer, hook: str) -> None:
        path = self.folder / f"{trainer.global_step}_{hook}.ckpt"
        trainer.save_checkpoint(path)
        self.kept.append((path, trainer.global_step))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.keep(trainer, "batch")

    def on_validation_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.keep(trainer, "validation")

    def on_train_epoch_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.keep(trainer, "epoch")

    def on_train_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        self.keep(trainer, "end")


def fit(data: Any, *callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> Any:
    module = fakes.Recorder(fakes.MeanColour())
    options = {"max_epochs": 3, **fakes.QUIET, "enable_checkpointing": bool(callbacks), **options}
    pl.Trainer(callbacks=list(callbacks), **options).fit(module, datamodule=data, ckpt_path=ckpt)
    return module


@pytest.mark.filterwarnings("error:.*your dataloader is not resumable")
@pytest.mark.parametrize(
    "options",
    [{"num_workers": 0}, {"num_workers": 2}, {"cache": True}],
    ids=["streamed", "two workers", "kept features"],
)
def test_a_resumed_run_is_the_run_that_was_never_killed(few: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Every epoch has 4 batches and a validation; it is resumed from every checkpoint that can be written."""
    options = {"cache": False, "batch_size": 9, "folder": tmp_path / "features", **options}
    keep = KeepAll(tmp_path)
    whole = fit(fakes.module_of(few, **options), keep)
    batches = whole.seen["train"]
    assert len(batches) == len({tuple(batch) for batch in batches}) >= 12
    hooks = keep.kept if options.get("num_workers", 0) == 0 else keep.kept[2:9]
    for path, seen in hooks:
        resumed = fit(fakes.module_of(few, **options), ckpt=path)
        assert resumed.seen["train"] == batches[seen:], path.name
        assert torch.equal(resumed.head.weight, whole.head.weight), path.name


def test_a_finished_run_goes_on_for_more_epochs(few: Path, tmp_path: Path) -> None:
    whole = fit(fakes.module_of(few, cache=False))
    fit(fakes.module_of(few, cache=False), RunCheckpoint(), max_epochs=1, default_root_dir=tmp_path)
    resumed = fit(fakes.module_of(few, cache=False), ckpt=last_checkpoint(tmp_path))
    assert resumed.seen["train"] == whole.seen["train"][len(whole.seen["train"]) // 3 :]
    assert torch.equal(resumed.head.weight, whole.head.weight)


@pytest.mark.parametrize(
    "limits", [{"limit_train_batches": 3}, {"max_epochs": -1, "max_steps": 9}, {"val_check_interval": 2}]
)
def test_runs_with_other_limits_resume_too(few: Path, tmp_path: Path, limits: dict[str, Any]) -> None:
    options = {"cache": False, "batch_size": 9}
    keep = KeepAll(tmp_path)
    whole = fit(fakes.module_of(few, **options), keep, **limits)
    for path, seen in keep.kept[2:]:
        resumed = fit(fakes.module_of(few, **options), ckpt=path, **limits)
        assert resumed.seen["train"] == whole.seen["train"][seen:], path.name


def test_a_run_that_max_steps_cut_short_goes_on_within_the_epoch(few: Path, tmp_path: Path) -> None:
    whole = fit(fakes.module_of(few, cache=False))
    cut: dict[str, Any] = {"max_steps": 5, "default_root_dir": tmp_path}
    fit(fakes.module_of(few, cache=False), RunCheckpoint(), **cut)
    resumed = fit(fakes.module_of(few, cache=False), ckpt=last_checkpoint(tmp_path), max_steps=12)
    assert resumed.seen["train"] == whole.seen["train"][5:12]


def test_a_tested_checkpoint_does_not_shorten_a_later_fit(few: Path, tmp_path: Path) -> None:
    keep = KeepAll(tmp_path)
    data = fakes.module_of(few, cache=False)
    whole = fit(data, keep, max_epochs=1)
    again = fakes.Recorder()
    trainer = pl.Trainer(max_epochs=1, **fakes.QUIET)
    trainer.test(again, datamodule=data, ckpt_path=keep.kept[1][0], verbose=False)
    trainer.fit(again, datamodule=data)
    assert again.seen["train"] == whole.seen["train"]
    assert len(again.seen["test"]) == 3


def test_a_chain_of_resumes_is_the_run_that_was_never_killed(few: Path, tmp_path: Path) -> None:
    """Each of the checkpoints of a resumed run is resumed once more, among them those on an epoch's last batch."""
    options = {"cache": False, "batch_size": 14}
    keep = KeepAll(tmp_path)
    whole = fit(fakes.module_of(few, **options), keep)
    assert len(whole.seen["train"]) == 9
    for path, seen in keep.kept[2:9]:
        (tmp_path / path.stem).mkdir()
        again = KeepAll(tmp_path / path.stem)
        fit(fakes.module_of(few, **options), again, ckpt=path)
        for second, seen_twice in again.kept:
            resumed = fit(fakes.module_of(few, **options), ckpt=second)
            assert resumed.seen["train"] == whole.seen["train"][seen_twice:], (path.name, second.name, seen)
            assert torch.equal(resumed.head.weight, whole.head.weight), (path.name, second.name)


class KilledError(Exception):
    """Stands for a signal."""


class KillWithin(pl.Callback):
    """Writes a checkpoint within a batch, as the handler of a signal does, and ends the run."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.batch:
            trainer.save_checkpoint(self.path)
            raise KilledError


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 5])
def test_a_batch_within_which_a_checkpoint_is_written_is_trained_on_after_it(
    few: Path, tmp_path: Path, batch: int
) -> None:
    options = {"cache": False, "batch_size": 14}
    whole = fit(fakes.module_of(few, **options))
    path = tmp_path / "within.ckpt"
    with pytest.raises(KilledError):
        fit(fakes.module_of(few, **options), KillWithin(path, batch), default_root_dir=tmp_path)
    resumed = fit(fakes.module_of(few, **options), ckpt=path)
    assert resumed.seen["train"] == whole.seen["train"][batch:]
    assert torch.equal(resumed.head.weight, whole.head.weight)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("size", [1, 4, 9, 20, 64])
def test_a_run_goes_on_with_another_batch_size(few: Path, tmp_path: Path, size: int, cache: bool) -> None:
    """The trainer ends the epoch where its samples end, and has as many batches in the next ones as anybody."""
    options = {"cache": cache, "folder": tmp_path / "features", "val_fraction": 0.0}
    keep = KeepAll(tmp_path)
    fit(fakes.module_of(few, batch_size=9, **options), keep)
    epoch = len(list(range(0, 43, size)))
    for path, seen in keep.kept[:12]:
        done = seen // 5 * 43 + seen % 5 * 9
        resumed = fit(fakes.module_of(few, batch_size=size, **options), ckpt=path).seen["train"]
        rest = 43 - done % 43
        batches = -(-rest // size)
        keys = list(itertools.chain(*resumed[:batches]))
        assert len(keys) == len(set(keys)) == rest, path.name
        later = [resumed[start : start + epoch] for start in range(batches, len(resumed), epoch)]
        assert len(later) == 2 - done // 43, path.name
        for batches_of_epoch in later:
            assert len(set(itertools.chain(*batches_of_epoch))) == 43


def test_overfitting_takes_the_same_batches_each_epoch(few: Path) -> None:
    seen = fit(fakes.module_of(few, cache=False), overfit_batches=2).seen["train"]
    assert seen == seen[:2] * 3


def test_a_fast_dev_run_takes_one_batch(few: Path) -> None:
    assert len(fit(fakes.module_of(few, cache=False), fast_dev_run=True).seen["train"]) == 1
