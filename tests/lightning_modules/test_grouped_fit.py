"""Heads that are fitted group after group are those that are fitted alone, also after a resume and on two ranks."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from typing_extensions import override

from callbacks import RestartDeadHeads
from callbacks.checkpoint import RunCheckpoint
from callbacks.health import DropDeadFeatures
from lightning_modules import SRAEModule
from lightning_modules.class_groups import ClassGroups
from tests.helpers import srae_fakes
from tests.helpers.ranks import RankPool
from vitrine.core.checkpoint_files import last_checkpoint
from vitrine.core.memory import amount, fit_bytes, readable_size

EPOCHS = 2


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=10 * tolerance)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_each_class_is_fitted_once_and_by_its_owner(world: int, at_once: int) -> None:
    ranks = [ClassGroups(7, at_once, rank, world) for rank in range(world)]
    assert len({groups.count for groups in ranks}) == 1
    seen: list[int] = []
    for group in range(ranks[0].count):
        now = [row for groups in ranks for row in groups.rows(group)]
        assert all(len(groups.rows(group)) <= at_once for groups in ranks)
        assert all(groups.owner(row) == groups.rank for groups in ranks for row in groups.rows(group))
        seen += now
        assert sorted(seen) == ranks[0].begun(group)
    assert sorted(seen) == list(range(7))


class Watch(pl.Callback):
    """What is trained in each epoch, and how fast."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.heads: list[set[int]] = []

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SRAEModule)
        (optimizer,) = trainer.optimizers
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert trained == {id(p) for p in optimizer.state}
        rows = range(len(pl_module.explained))
        heads = {row for row in rows if {id(p) for p in pl_module.head_parameters(row)} & trained}
        idle = [p for row in set(rows) - heads for p in pl_module.head_parameters(row)]
        assert not any(p.requires_grad or p.grad is not None for p in idle)
        if trainer.is_last_batch:
            self.heads.append(heads)


@pytest.mark.parametrize("at_once", [1, 2])
def test_groups_train_heads_as_runs_of_their_own_do(tmp_path: Path, at_once: int) -> None:
    module = srae_fakes.make_module(classes_at_once=at_once)
    start, batches, watch = srae_fakes.state_of(module), srae_fakes.make_batches(), Watch()
    trainer = srae_fakes.fit(module, batches, EPOCHS, watch, default_root_dir=tmp_path)
    groups = [{0}, {1}, {2}] if at_once == 1 else [{0, 1}, {2}]
    assert trainer.current_epoch == len(groups) * EPOCHS
    assert watch.heads == [group for group in groups for _ in range(EPOCHS)]
    assert watch.rates == pytest.approx([1e-2, 5e-3] * len(groups))
    together = srae_fakes.state_of(module)
    for row, index in enumerate(srae_fakes.EXPLAINED):
        alone: Any = srae_fakes.make_module(explained_classes=[index])
        alone.heads[0].load_state_dict({n[2:]: v for n, v in start.items() if n.startswith(f"{row}.")})
        srae_fakes.fit(alone, batches, EPOCHS, default_root_dir=tmp_path)
        assert_same(
            {n[2:]: v for n, v in together.items() if n.startswith(f"{row}.")}, dict(alone.heads[0].state_dict())
        )


def test_a_resumed_run_is_the_run_that_was_never_killed(tmp_path: Path) -> None:
    """Of 3 groups with 2 epochs of 2 batches each: from within the second, its end, and where a group ends."""
    whole, keep = srae_fakes.make_module(classes_at_once=1), srae_fakes.KeepAll(tmp_path)
    batches = srae_fakes.make_batches()
    srae_fakes.fit(whole, batches, EPOCHS, keep, default_root_dir=tmp_path)
    assert len(keep.kept) == 18
    for place in (0, 5, 6, 8, 9, 11, 16):
        resumed = srae_fakes.make_module(classes_at_once=1)
        watch = Watch()
        trainer = srae_fakes.fit(resumed, batches, EPOCHS, watch, ckpt=keep.kept[place], default_root_dir=tmp_path)
        assert trainer.current_epoch == 6
        assert_same(srae_fakes.state_of(resumed), srae_fakes.state_of(whole), 0)
        if place != 16:
            assert watch.rates[-2:] == pytest.approx([1e-2, 5e-3])
        assert not resumed.mean_contributions.isnan().any() or place < 6
    checkpoint = torch.load(keep.kept[6], weights_only=False)
    checkpoint["optimizers_of_ranks"] *= 2
    torch.save(checkpoint, tmp_path / "two.ckpt")
    with pytest.raises(ValueError, match="checkpoint is of 2 ranks"):
        srae_fakes.fit(srae_fakes.make_module(classes_at_once=1), batches, EPOCHS, ckpt=tmp_path / "two.ckpt")


def test_a_checkpoint_without_optimizers_can_be_written(tmp_path: Path) -> None:
    module = srae_fakes.make_module(classes_at_once=2)
    trainer = srae_fakes.fit(module, srae_fakes.make_batches(), 1, default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    state = torch.load(tmp_path / "weights.ckpt", weights_only=True)["state_dict"]
    other = srae_fakes.make_module(classes_at_once=2)
    other.load_state_dict(state)
    assert_same(srae_fakes.state_of(other), srae_fakes.state_of(module))


def test_a_second_fit_of_a_module_has_all_its_groups(tmp_path: Path) -> None:
    module, batches = srae_fakes.make_module(classes_at_once=1), srae_fakes.make_batches()
    for epochs in (1, 2):
        watch = Watch()
        trainer = srae_fakes.fit(module, batches, epochs, watch, default_root_dir=tmp_path)
        assert trainer.current_epoch == 3 * epochs
        assert watch.heads == [{row} for row in range(3) for _ in range(epochs)]


def test_validation_knows_only_heads_that_were_begun(tmp_path: Path) -> None:
    module, batches, val = (
        srae_fakes.make_module(classes_at_once=1),
        srae_fakes.make_batches(),
        srae_fakes.make_batches(1, 10),
    )
    seen: list[float] = []

    class Record(pl.Callback):
        @override
        def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            estimates = module.heads.estimates(val[0]["features"])
            begun = srae_fakes.EXPLAINED[: trainer.current_epoch + 1]
            error = (estimates[:, : len(begun)] - val[0]["logits"][:, begun]).abs().mean()
            seen.append(float(module.val_faithfulness.compute()["val/f_reg"] - error.detach()))

    srae_fakes.fit(module, batches, 1, Record(), val=val, default_root_dir=tmp_path)
    assert seen == pytest.approx([0, 0, 0], abs=1e-6)


# What it takes


def test_what_a_fit_takes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("lightning_modules.grouped_fit.rank_zero_info", said.append)
    monkeypatch.setattr("lightning_modules.grouped_fit.free_bytes", lambda _: 10**9)
    module = srae_fakes.make_module(classes_at_once=2)
    srae_fakes.fit(module, srae_fakes.make_batches(1), 1, default_root_dir=tmp_path)
    # One head: 64·8 + 8 + 8·3 + 3 of the encoder, 3·8 + 8 + 8·64 + 64 of the decoder, 3 of the predictor.
    of_head = 547 + 608 + 3
    needed = 4 * (3 * of_head + 3 * 2 * of_head)
    assert said[0].startswith(f"3 heads with {amount(3 * of_head)} parameters; 2 of them are trained at once")
    assert f"{readable_size(needed)} for weights, gradients and Adam's moments (1 GB are free)" in said[0]
    assert [line for line in said if line.startswith("Group")] == ["Group 2 of 2 begins."]
    monkeypatch.setattr("lightning_modules.grouped_fit.free_bytes", lambda _: 4 * 3 * 2 * of_head - 1)
    with pytest.raises(ValueError, match=r"Training 2 heads at once needs 27\.8 kB .*classes_at_once to fewer"):
        srae_fakes.fit(module, srae_fakes.make_batches(1), 1, default_root_dir=tmp_path)


def test_amounts() -> None:
    assert [amount(n) for n in (0, 12, 1234, 5_600_000, 7.25e9)] == ["0", "12", "1.23 k", "5.6 M", "7.25 G"]
    assert fit_bytes(10, 4, 5) == 4 * (10 + 12 + 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes_at_once": 0}, "classes_at_once is 0; give 1 or more"),
        (
            {"classes_at_once": 1, "trunk": "shared"},
            "training.classes_at_once is 1; give null: .* srae.trunk is shared",
        ),
        ({"pretraining_epochs": -1}, "pretraining_epochs is -1"),
        ({"pretraining_epochs": 1, "objective": "nn"}, "objective nn has none"),
        ({"num_features": 0}, "num_features is 0; give 1 or more"),
        ({"hidden": (8, 0)}, r"hidden\[1\] is 0; give 1 or more"),
        ({"image_size": 0}, "image_size is 0; give 1 or more"),
        ({"image_size": 2}, "takes no images of image_size 2 pixels"),
        ({"beta": -1.0}, "beta is -1.0; give 0 or more"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"q": 0.0}, "q is 0.0; give a number above 0"),
        ({"lr": -1.0}, "optimizer.init_args.lr is -1.0; give 0 or more"),
        ({"decoder_decay": -1.0}, "decoder_decay is -1.0"),
        ({"positive_weight": -2.0}, "positive_weight is -2.0; give a number above 0 or 'balanced'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        srae_fakes.make_module(**options)


def test_groups_need_epochs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give trainer\.max_epochs, 1 or more"):
        srae_fakes.fit(srae_fakes.make_module(classes_at_once=1), srae_fakes.make_batches(1), -1, max_steps=2)
    with pytest.raises(ValueError, match=r"classes_at_once counts epochs; leave trainer\.max_steps out"):
        srae_fakes.fit(srae_fakes.make_module(classes_at_once=1), srae_fakes.make_batches(1), 2, max_steps=2)


def test_groups_that_were_never_reached_are_told_of(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = True

    module = srae_fakes.make_module(classes_at_once=1)
    with pytest.warns(UserWarning, match="The fit ended in group 1 of 3: 2 heads are untrained"):
        srae_fakes.fit(module, srae_fakes.make_batches(1), EPOCHS, Stop(), default_root_dir=tmp_path)


# Going on from a checkpoint


@pytest.fixture
def fitted_in_groups(tmp_path: Path) -> Path:
    module = srae_fakes.make_module(classes_at_once=2)
    trainer = srae_fakes.fit(module, srae_fakes.make_batches(1), EPOCHS, RunCheckpoint(), default_root_dir=tmp_path)
    assert trainer.current_epoch == 2 * EPOCHS
    return last_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("options", "epochs"), [({"classes_at_once": 1}, EPOCHS), ({"classes_at_once": 2}, 3), ({}, 9)]
)
def test_other_groups_do_not_go_on_from_a_checkpoint(
    fitted_in_groups: Path, options: dict[str, int], epochs: int
) -> None:
    wanted = (
        rf"last\.ckpt is of a fit with other groups.*classes_at_once: 2, trainer\.max_epochs: {EPOCHS}, or fit anew"
    )
    with pytest.raises(ValueError, match=wanted):
        srae_fakes.fit(srae_fakes.make_module(**options), srae_fakes.make_batches(1), epochs, ckpt=fitted_in_groups)


def test_groups_do_not_go_on_from_a_fit_without(tmp_path: Path) -> None:
    module, batches = srae_fakes.make_module(), srae_fakes.make_batches(1)
    srae_fakes.fit(module, batches, EPOCHS, RunCheckpoint(), default_root_dir=tmp_path)
    grouped = srae_fakes.make_module(classes_at_once=2)
    with pytest.raises(ValueError, match=r"go on from it with model\.init_args\.training\.classes_at_once: null"):
        srae_fakes.fit(grouped, batches, EPOCHS, ckpt=last_checkpoint(tmp_path))


def test_heads_are_read_whether_or_not_they_were_trained_in_groups(fitted_in_groups: Path) -> None:
    state = torch.load(fitted_in_groups, weights_only=False)["state_dict"]
    whole, again = srae_fakes.make_module(), srae_fakes.make_module(classes_at_once=1)
    whole.load_state_dict(state)
    again.load_state_dict(whole.state_dict())
    for name, value in srae_fakes.state_of(whole).items():
        assert torch.equal(value, state[f"explainer.heads.{name}"])
        assert torch.equal(value, srae_fakes.state_of(again)[name])


def test_heads_of_other_classes_are_refused(fitted_in_groups: Path, tmp_path: Path) -> None:
    """Though their numbers would fit; by ``init_from`` each class gets its own."""
    other = srae_fakes.make_module(explained_classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"explained_classes: \[0, 1, 3\], not \[0, 1, 2\]; set model\.init_args"):
        other.on_load_checkpoint(torch.load(fitted_in_groups, weights_only=False))
    srae_fakes.make_module().explainer.save(tmp_path / "saved")
    for classes, loaded in (([0, 1, 3], [0, 1, 3]), ([0, 1, 2], None)):
        inherited = srae_fakes.make_module(explained_classes=classes, init_from=tmp_path / "saved").inherited
        assert inherited is not None
        assert inherited.loaded_for == loaded


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk": "shared"}, "stands in the checkpoint alone; give the model.init_args that it was trained with"),
        ({"num_features": 2}, r"is of shape \(3,\) in the checkpoint, of \(2,\) here"),
    ],
)
def test_other_heads_are_refused(fitted_in_groups: Path, options: dict[str, Any], message: str) -> None:
    state = torch.load(fitted_in_groups, weights_only=False)["state_dict"]
    with pytest.raises(ValueError, match=f"The checkpoint holds other heads than this SRAEModule: .*{message}"):
        srae_fakes.make_module(**options).load_state_dict(state)


# Callbacks that look after heads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_restarts": -1}, "max_restarts is -1; give 0 or more"),
        ({"until": 1.5}, "until is 1.5; give a number from 0 to 1"),
    ],
)
def test_wrong_options_of_restarts(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RestartDeadHeads(**options)


def test_idle_x_features_are_dropped_in_their_own_group(tmp_path: Path) -> None:
    module: Any = srae_fakes.make_module(classes_at_once=1, lr=1e-6)
    for head in module.heads:
        head.predictor.weight.data[0, 0] = 0
    live: list[list[bool]] = []

    class Record(Checkpoint):  # after all other callbacks
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            live.append(module.heads.alive[:, 0].tolist())
            assert module.heads.alive[:, 1:].all()

    drop = DropDeadFeatures(threshold=1e-3, start=1.0, min_features=1)
    srae_fakes.fit(module, srae_fakes.make_batches(), EPOCHS, drop, Record(), default_root_dir=tmp_path)
    done = [0, 1, 1, 2, 2, 3]
    assert live == [[row >= count for row in range(3)] for count in done]


def test_a_degenerate_head_is_restarted_in_its_own_group(tmp_path: Path) -> None:
    module: Any = srae_fakes.make_module(classes_at_once=1)
    for row in (1, 2):
        module.heads[row].encoder[-2].bias.data.fill_(-1000.0)
    epochs: dict[Any, int] = {}

    class Record(Checkpoint):
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            for row in restart.restarts:
                epochs.setdefault(row, trainer.current_epoch)

    restart = RestartDeadHeads(every_n_epochs=1, max_restarts=1, until=0.5)
    srae_fakes.fit(module, srae_fakes.make_batches(), EPOCHS, restart, Record(), default_root_dir=tmp_path)
    assert epochs[1] == EPOCHS
    assert epochs[2] == 2 * EPOCHS
    assert all(module.heads[row].encoder[-2].bias.abs().max() < 100 for row in (1, 2))


# Two ranks


@pytest.fixture(scope="module")
def on_two_ranks(ranks: RankPool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ranks")
    results: dict[str, Any] = ranks.run(srae_fakes.fits, 2, folder, folder=folder)[0]
    return results


def test_two_ranks_give_the_heads_of_one(on_two_ranks: dict[str, Any], tmp_path: Path) -> None:
    """In groups as together; what is logged covers other heads where groups are made up otherwise."""
    one = srae_fakes.fits(0, 1, tmp_path)
    assert set(one) == {name for name in on_two_ranks if "resumed" not in name}
    for name, (heads, figures) in one.items():
        assert_same(on_two_ranks[name][0], heads, 1e-4)
        if name in {"cae", "shared", "pretrained", "groups"}:
            assert figures
            assert on_two_ranks[name][1] == pytest.approx(figures, rel=1e-3, abs=1e-4)


def test_two_ranks_resumed_are_two_that_were_never_killed(on_two_ranks: dict[str, Any]) -> None:
    resumed = [name for name in on_two_ranks if "resumed" in name]
    assert len(resumed) == 4
    for name in resumed:
        assert_same(on_two_ranks[name][0], on_two_ranks[name.split(",", maxsplit=1)[0]][0])
