"""Fits that are stopped at any step and go on are those that never stopped, also with dropout, batch norm and restarts."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from torch import Tensor, nn
from torch.optim import SGD, Adam
from typing_extensions import override

from callbacks.health import DropDeadFeatures, RestartDeadHeads
from lightning_modules import ClassifierModule
from lightning_modules.optimization import CosineToZero
from tests.helpers import mu_lasso_fakes, ragged_fits, srae_fakes
from tests.helpers.image_data import ImageData
from tests.helpers.learning_rates import cosine, rates
from tests.helpers.ranks import RankPool
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch


class Data(ImageData):
    """Three batches of random images of three classes."""

    classes = ("ant", "bee", "cat")

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            Batch(
                image=torch.randn(4, 3, 16, 16, generator=generator),
                label=torch.tensor([0, 1, 2, number % 3]),
                key=[f"{number}-{row}" for row in range(4)],
            )
            for number in range(3)
        ]

    @override
    def train_dataloader(self) -> srae_fakes.Batches:
        return srae_fakes.Batches(self.batches)


class SmallNet(nn.Module):
    """With batch norm and dropout, so that modes and random numbers matter."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def classifier(**options: Any) -> ClassifierModule:
    torch.manual_seed(0)
    return ClassifierModule(BackboneOptions(f"{__name__}:SmallNet"), **options)


def fit_classifier(folder: Path, *callbacks: pl.Callback, ckpt: Path | None = None, **options: Any) -> ClassifierModule:
    module = classifier(**options)
    settings = {**srae_fakes.QUIET, "enable_checkpointing": bool(callbacks)}
    trainer = pl.Trainer(max_epochs=3, default_root_dir=folder, callbacks=list(callbacks), **settings)
    trainer.fit(module, datamodule=Data(), ckpt_path=ckpt, weights_only=False)
    return module


@pytest.mark.parametrize(
    "options", [{}, {"freeze_batch_norm": True}, {"trainable": "last_layer"}], ids=["all", "frozen", "last layer"]
)
def test_a_classifier_goes_on_as_if_never_stopped(tmp_path: Path, options: dict[str, Any]) -> None:
    keep = srae_fakes.KeepAll(tmp_path)
    whole = fit_classifier(tmp_path, keep, **options).network.state_dict()
    of_steps = [
        path for path in keep.kept if not path.name.startswith(("3_b", "6_b", "9_"))
    ]  # not at an epoch's last batch
    assert len(of_steps) == 8
    for number, path in enumerate(of_steps):
        torch.manual_seed(1000 + number)  # another process has other random numbers
        resumed = fit_classifier(tmp_path, ckpt=path, **options).network.state_dict()
        assert all(torch.equal(resumed[name], value) for name, value in whole.items()), path.name


@pytest.mark.parametrize("options", [{"freeze_batch_norm": True}, {"trainable": "last_layer"}])
def test_a_frozen_batch_norm_stands_still_after_a_resume_within_an_epoch(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    keep = srae_fakes.KeepAll(tmp_path)
    fit_classifier(tmp_path, keep, **options)
    network = fit_classifier(tmp_path, ckpt=keep.kept[0], **options).network
    batch_norm = network.get_submodule("features.1")
    assert isinstance(batch_norm, nn.BatchNorm2d)
    assert batch_norm.num_batches_tracked == 0
    assert batch_norm.running_mean is not None
    assert torch.equal(batch_norm.running_mean, torch.zeros(8))


def test_restarts_and_drops_judge_on_the_whole_epoch_after_a_resume_within_it(tmp_path: Path) -> None:
    def callbacks() -> list[pl.Callback]:
        return [
            RestartDeadHeads(every_n_epochs=1, max_restarts=9, until=1.0),
            DropDeadFeatures(threshold=0.2, start=0.0),
        ]

    keep, batches = srae_fakes.KeepAll(tmp_path), srae_fakes.make_batches(count=3)
    whole = srae_fakes.make_module()
    srae_fakes.fit(whole, batches, 3, keep, *callbacks(), default_root_dir=tmp_path)
    for path in [
        path for path in keep.kept if path.name in {"1_batch.ckpt", "2_batch.ckpt", "5_batch.ckpt", "6_epoch.ckpt"}
    ]:
        resumed = srae_fakes.make_module()
        srae_fakes.fit(resumed, batches, 3, *callbacks(), ckpt=path, default_root_dir=tmp_path)
        found, expected = srae_fakes.state_of(resumed), srae_fakes.state_of(whole)
        assert all(torch.equal(found[name], value) for name, value in expected.items()), path.name


def test_the_figures_of_an_epoch_hold_what_was_measured_before_the_resume(tmp_path: Path) -> None:
    keep, batches = srae_fakes.KeepAll(tmp_path), srae_fakes.make_batches(count=3)
    whole = srae_fakes.fit(srae_fakes.make_module(), batches, 1, keep, default_root_dir=tmp_path)
    resumed = srae_fakes.fit(srae_fakes.make_module(), batches, 1, ckpt=keep.kept[1], default_root_dir=tmp_path)
    for name in ("train/f_reg", "train/f_cls", "train/alive_features", "train/loss"):
        assert resumed.callback_metrics[name] == whole.callback_metrics[name]


# How long a fit is


def test_a_fit_bounded_by_steps_falls_to_zero_over_its_steps(tmp_path: Path) -> None:
    found, _ = rates(-1, tmp_path, trainer={"max_steps": 5})
    assert found == pytest.approx([cosine(step / 5) for step in range(5)])
    found, _ = rates(2, tmp_path, trainer={"max_steps": 50})
    assert found == pytest.approx([cosine(step / 4) for step in range(4)])  # two epochs are fewer


def test_a_fit_bounded_by_time_falls_with_the_time() -> None:
    schedule = CosineToZero(SGD([nn.Parameter(torch.ones(1))], lr=2.0))
    shares = iter([0.25, 1.5])
    schedule.share_done = lambda: next(shares)
    schedule.optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([cosine(0.25, 2.0)])
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.0])


def test_the_share_of_a_fit_that_is_done(tmp_path: Path) -> None:
    found: list[tuple[float, ...]] = []

    class Ask(pl.Callback):
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            found.append((pl_module.share_done(), pl_module._share_of_time()))

    def fit(epochs: int, *callbacks: pl.Callback, **settings: Any) -> None:
        found.clear()
        module, batches = srae_fakes.make_module(), srae_fakes.make_batches()
        srae_fakes.fit(module, batches, epochs, Ask(), *callbacks, default_root_dir=tmp_path, **settings)

    fit(2)
    assert found == [(0.5, 0.0), (1.0, 0.0)]
    fit(-1, max_steps=8)
    assert [share for share, _ in found] == [0.25, 0.5, 0.75, 1.0]
    fit(-1, Timer(duration={"seconds": 3600}), max_steps=4)
    assert all(0 < of_time < 0.1 for _, of_time in found)


# Precision


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_half_precision_weights_are_refused(precision: str) -> None:
    with pytest.raises(ValueError, match=rf"{precision} cannot train.*{precision.replace('true', 'mixed')}"):
        srae_fakes.fit(srae_fakes.make_module(), srae_fakes.make_batches(), 1, precision=precision)


@pytest.mark.parametrize("options", [{}, {"objective": "cae"}, {"trunk": "shared"}])
def test_double_precision(options: dict[str, Any]) -> None:
    trainer = srae_fakes.fit(srae_fakes.make_module(**options), srae_fakes.make_batches(), 1, precision="64-true")
    assert trainer.callback_metrics["train/loss"].isfinite()


def test_gradients_are_clipped_under_mixed_precision() -> None:
    module = srae_fakes.make_module(optimizer=lambda weights: Adam(weights, lr=1e-3, fused=True))
    trainer = srae_fakes.fit(
        module, srae_fakes.make_batches(), 1, precision="bf16-mixed", gradient_clip_val=1e-3, enable_checkpointing=False
    )
    assert not any(group["fused"] for group in trainer.optimizers[0].param_groups)
    squares = [value.grad.square().sum() for value in module.heads.parameters() if value.grad is not None]
    assert torch.stack(squares).sum().sqrt() <= 1e-3 * (1 + 1e-5)


# Other processes


@pytest.mark.parametrize("make", [lambda: srae_fakes.make_module(lr=None), mu_lasso_fakes.make_module, classifier])
def test_a_module_pickles_with_its_default_optimizer(make: Any) -> None:
    module = make()
    copy = pickle.loads(pickle.dumps(module))
    assert type(copy.optimizer([nn.Parameter(torch.ones(1))])) is type(module.optimizer([nn.Parameter(torch.ones(1))]))
    assert isinstance(copy.lr_scheduler(Adam([nn.Parameter(torch.ones(1))])), CosineToZero)


# Ranks


ACCUMULATED = {"trainer": {"accumulate_grad_batches": 2}}
CASES: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"trunk": "shared"},
    "groups": {"classes_at_once": 1},
    "cae": {"objective": "cae"},
    "over features": {"pull_away_over": "features"},
    "accumulated": ACCUMULATED,
    "groups, accumulated": {"classes_at_once": 2, **ACCUMULATED},
    "clipped": {"trainer": {"gradient_clip_val": 0.1}},
}


def assert_same(one: ragged_fits.Fitted, other: ragged_fits.Fitted, name: str, *, part: str = "") -> None:
    assert ragged_fits.largest_difference(one[0], other[0]) < (1e-4 if name == "cae" else 1e-5), name
    figures = {key: value for key, value in one[1].items() if part in key}
    assert {key: other[1][key] for key in figures} == pytest.approx(figures, rel=1e-5, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_with_fewer_samples_or_none_change_nothing(tmp_path: Path, world: int) -> None:
    one = ragged_fits.srae_fits(0, 1, tmp_path, CASES)
    others = ragged_fits.other_fits(0, 1, tmp_path)
    with RankPool(world) as pool:
        of_ranks = pool.run(ragged_fits.srae_fits, world, tmp_path, CASES)
        others_of_ranks = pool.run(ragged_fits.other_fits, world, tmp_path)
    for name, whole in one.items():
        for of_rank in of_ranks:
            # In groups, what is logged of training is of the heads that are trained at the time, others on other ranks.
            assert_same(whole, of_rank[name], name, part="val/" if "groups" in name else "")
    for name, whole in others.items():
        for of_rank in others_of_ranks:
            assert_same(whole, of_rank[name], name)


def test_a_norm_of_gradients_of_heads_on_several_ranks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.grouped_fit.world_size", lambda: 2)
    module = srae_fakes.make_module(classes_at_once=1)
    with pytest.raises(ValueError, match=r"gradient_clip_algorithm: value"):
        srae_fakes.fit(module, srae_fakes.make_batches(), 1, gradient_clip_val=1.0)
