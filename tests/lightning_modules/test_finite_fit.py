"""Fits stop at their first NaN, on all ranks, and leave neither a checkpoint nor an export that holds one."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from typing_extensions import override

from callbacks.checkpoint import RunCheckpoint
from callbacks.run_folder import Export
from lightning_modules.finite_fit import (
    MOST_SKIPPED,
    NEVER,
    FiniteFitModule,
    FirstBadSteps,
    bad_samples,
    bad_tensor,
    in_whole_blocks,
    largest_of,
)
from tests.helpers import mu_lasso_fakes, srae_fakes
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch

NAN, INF = float("nan"), float("inf")


def test_the_first_bad_step_and_what_was_bad_in_it() -> None:
    steps = FirstBadSteps()
    assert steps.earliest() == (NEVER, [])
    for step, loss, gradient in ((1, 1.0, 2.0), (2, 1.0, INF), (3, NAN, NAN), (4, 1.0, 1.0)):
        steps.note(step, {"loss": torch.tensor(loss), "gradient": torch.tensor([0.0, gradient])})
    steps.note(2, {"features": torch.zeros(0, 3)})
    assert steps.earliest() == (2, ["gradient"])
    steps.note(2, {"features": torch.tensor([[-INF]])})
    assert steps.earliest() == (2, ["gradient", "features"])


@pytest.mark.parametrize(("in_a_row", "found"), [(MOST_SKIPPED - 1, False), (MOST_SKIPPED, True)])
def test_steps_that_a_scaler_skips_are_counted_in_a_row(in_a_row: int, found: bool) -> None:
    steps = FirstBadSteps()
    values = [INF] * (in_a_row - 1) + [1.0] + [INF] * in_a_row + [1.0]
    for step, value in enumerate(values, start=1):
        steps.note_skipped(step, "gradient", torch.tensor(value))
    assert steps.earliest() == ((len(values) - 1, ["gradient"]) if found else (NEVER, []))
    assert not steps.skipped_all


def test_a_fit_whose_steps_were_all_skipped_is_known() -> None:
    steps = FirstBadSteps()
    assert not steps.skipped_all
    for step in (1, 2, 3):
        steps.note_skipped(step, "gradient", torch.tensor(INF))
    assert steps.skipped_all
    steps.note_skipped(4, "gradient", torch.tensor(0.0))
    assert not steps.skipped_all


def test_a_bad_tensor_is_named_and_infinite_buffers_are_not_bad() -> None:
    module = nn.BatchNorm1d(2)
    assert bad_tensor([("net.", module)]) is None
    running = module.running_var
    assert running is not None
    running[0] = INF
    assert bad_tensor([("net.", module)]) is None
    running[0] = NAN
    assert bad_tensor([("net.", module)]) == "net.running_var"
    module.weight.grad = torch.tensor([0.0, INF])
    assert bad_tensor([("net.", module)], gradients=True) == "the gradient of net.weight"


def test_bad_samples_are_named() -> None:
    batch = Batch(key=["a", "b", "c"], features=torch.zeros(3, 2), logits=torch.zeros(3, 4))
    assert bad_samples(batch) == []
    batch["features"][1, 1], batch["logits"][2, 3] = NAN, INF
    assert bad_samples(batch) == ["b", "c"]
    assert bad_samples(torch.zeros(2)) == []


# Whole fits

GROUPED: dict[str, Any] = {"classes_at_once": 2}


class Spoil(pl.Callback):
    """Puts NaN into the features of the n-th batch, or into a parameter before it."""

    def __init__(self, number: int, *, parameter: bool = False) -> None:
        self.left, self.parameter = number, parameter

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.left -= 1
        if self.left == 0 and self.parameter:
            next(value for value in pl_module.parameters() if value.requires_grad).data.view(-1)[0] = NAN
        elif self.left == 0:
            batch["features"] = batch["features"].index_fill(0, torch.tensor(1), NAN)


def spoilt_fit(folder: Path, *callbacks: pl.Callback, epochs: int = 2, **options: Any) -> None:
    module = srae_fakes.make_module(**options)
    keeps = [RunCheckpoint(every_n_steps=1, keep_last=9), Export()]
    batches = srae_fakes.make_batches(count=3)
    srae_fakes.fit(module, batches, epochs, *callbacks, *keeps, default_root_dir=folder)


def is_finite(path: Path) -> bool:
    state = torch.load(path)["state_dict"]
    return all(bool(value.isfinite().all()) for value in state.values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("options", [{}, {"trunk": "shared"}, GROUPED, {"objective": "cae"}, {"pretraining_epochs": 1}])
def test_nan_in_a_batch_stops_the_fit_at_its_step(options: dict[str, Any], tmp_path: Path) -> None:
    epochs = 3 if "pretraining_epochs" in options else 2
    with pytest.raises(ValueError, match=r"Step 5, in epoch 1: .*features, .*loss.*the gradient.*--ckpt_path auto"):
        spoilt_fit(tmp_path, Spoil(5), epochs=epochs, **options)
    kept = sorted((tmp_path / "checkpoints").glob("epoch=*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert kept[-1].name == "epoch=1-step=4.ckpt"
    assert all(map(is_finite, kept))
    assert kept[-1].samefile(tmp_path / "checkpoints" / "last.ckpt")
    assert not (tmp_path / "explainer").exists()


def test_where_reading_waits_nothing_is_written_after_the_first_bad_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: the step is named some steps later, or before the next checkpoint."""
    monkeypatch.setattr(FiniteFitModule, "_reading_waits", True)
    module, batches = srae_fakes.make_module(), srae_fakes.make_batches(count=9)
    keeps = [RunCheckpoint(every_n_steps=4), Export()]
    with pytest.raises(ValueError, match=r"Step 6, in epoch 0: NaN or infinity in features"):
        srae_fakes.fit(module, batches, 1, Spoil(6), *keeps, default_root_dir=tmp_path)
    assert module.trainer.global_step == 8
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"epoch=0-step=4.ckpt", "last.ckpt"}


@pytest.mark.parametrize("solver", ["exact", "sgd"])
def test_nan_in_a_sum_is_not_solved_to_clean_zeros(solver: str, tmp_path: Path) -> None:
    batches = mu_lasso_fakes.make_batches(size=100)
    batches[0]["features"][3, 2] = NAN
    with pytest.raises(ValueError, match=r"NaN or infinity in features"):
        mu_lasso_fakes.fit(mu_lasso_fakes.make_module(solver=solver), batches, max_epochs=1, default_root_dir=tmp_path)


def test_a_selection_of_nan_is_none(tmp_path: Path) -> None:
    batches = srae_fakes.make_batches()
    batches[1]["logits"][0, 0] = NAN
    with pytest.raises(ValueError, match=r"Step 2, in epoch 0: NaN or infinity in logits"):
        srae_fakes.fit(srae_fakes.make_selection(), batches, 1, default_root_dir=tmp_path)


def test_steps_that_are_too_long_are_named_with_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(Step [12], .*|after step [12]).*optimizer\.init_args\.lr"):
        spoilt_fit(tmp_path, lr=1e38)
    assert all(map(is_finite, (tmp_path / "checkpoints").glob("*.ckpt")))


def test_a_parameter_is_named_before_the_first_step(tmp_path: Path) -> None:
    module = srae_fakes.make_module()
    module.explainer.heads.get_parameter("0.encoder.0.weight").data[0, 0] = INF
    with pytest.raises(ValueError, match=r"heads\.0\.encoder\.0\.weight holds NaN or infinity before the first step"):
        srae_fakes.fit(module, srae_fakes.make_batches(), 1, default_root_dir=tmp_path)
    with pytest.raises(
        ValueError, match=r"heads\.0\.encoder\.0\.weight holds NaN or infinity when it was to be exported"
    ):
        module.export(tmp_path)
    frozen = srae_fakes.make_module()
    frozen.explainer.backbone.model.get_parameter("features.0.bias").data[0] = NAN
    with pytest.raises(ValueError, match=r"explainer\.backbone\.features\.0\.bias holds NaN or infinity before"):
        srae_fakes.fit(frozen, srae_fakes.make_batches(), 1, default_root_dir=tmp_path)


def stopped_on_rank(rank: int, folder: Path, options: dict[str, Any]) -> str:
    """What a rank says where another rank's sample, or head, is spoilt."""
    spoil = [Spoil(2, parameter="classes_at_once" in options)] if rank == 1 else []
    batches = srae_fakes.share(srae_fakes.make_batches(count=3), rank, 2)
    strategy: dict[str, Any] = {
        "devices": 2,
        "strategy": "ddp",
        "use_distributed_sampler": False,
        "default_root_dir": folder,
    }
    with pytest.raises(ValueError, match="NaN") as stopped:
        srae_fakes.fit(srae_fakes.make_module(**options), batches, 2, *spoil, **strategy)
    return str(stopped.value)


@pytest.mark.parametrize("options", [{}, GROUPED], ids=["together", "groups"])
def test_all_ranks_stop_at_the_same_step(options: dict[str, Any], ranks: RankPool, tmp_path: Path) -> None:
    first, second = ranks.run(stopped_on_rank, tmp_path, options)
    assert first == second
    assert "Step 2, in epoch 0" in first


def test_gradients_that_fill_a_block_of_memory_are_looked_at_as_one() -> None:
    block, part, alone = torch.rand(3, 4), torch.rand(5), torch.rand(2, 2)
    found = in_whole_blocks([*block.unbind(0), part[:2], part[2:4], alone])
    assert [tensor.shape for tensor in found] == [(12,), (2,), (2,), (2, 2)]
    assert torch.equal(found[0], block.flatten())
    block[1, 2] = torch.nan
    assert found[0].isnan().any()


@pytest.mark.parametrize(("value", "expected"), [(-7.0, 7.0), (torch.inf, torch.inf), (-torch.inf, torch.inf)])
def test_the_largest_magnitude_of_several_tensors(value: float, expected: float) -> None:
    tensors = [torch.zeros(3, 2), torch.full((2,), 0.5), torch.zeros(0)]
    tensors[0][1, 1] = value
    assert float(largest_of(tensors)) == expected
    tensors[1][0] = torch.nan
    assert largest_of(tensors).isnan()
