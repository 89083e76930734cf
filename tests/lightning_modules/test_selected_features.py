"""Baselines without a network of their own: chosen dimensions of Z, in one pass over the data."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

import vitrine
from tests.helpers import shard_fakes, srae_fakes
from vitrine.attribution import ExcitationBackprop
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.lasso_selection import LassoSelection, strongest


def whole_lasso(features: Tensor, logits: Tensor, positive: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    selection = LassoSelection(logits.shape[1], features.shape[1])
    selection.update(features, logits, positive)
    return selection.finish(alpha, None)


def test_lasso_takes_one_pass(tmp_path: Path) -> None:
    module, batches = srae_fakes.make_selection(), srae_fakes.make_batches(5)
    trainer = srae_fakes.fit(module, batches, 7, default_root_dir=tmp_path)
    assert trainer.current_epoch == 1
    features, logits, label = (torch.cat([b[name] for b in batches]) for name in ("features", "logits", "label"))
    explained = srae_fakes.EXPLAINED
    w, b, contributions = whole_lasso(features, logits[:, explained], label[:, None] == torch.tensor(explained), 0.05)
    heads = module.explainer.heads
    torch.testing.assert_close(heads.weights, w)
    torch.testing.assert_close(heads.bias, b)
    chosen = strongest(contributions, 2)
    assert torch.equal(heads.indices, chosen.clamp(min=0))
    assert torch.equal(heads.alive, chosen >= 0)
    # Logits are 4 Z_j − 1 of their own dimension.
    assert heads.indices[:, 0].tolist() == explained
    assert float(trainer.callback_metrics["train/dimensions_per_class"]) == (w != 0).sum() / 3
    assert module.needs_checkpoint


def test_the_lasso_is_validated(tmp_path: Path) -> None:
    """After its one epoch, and on its own; what estimates nothing has nothing to validate."""
    module, batches = srae_fakes.make_selection(), srae_fakes.make_batches(5)
    trainer = srae_fakes.fit(module, batches, 3, val=batches[:2], default_root_dir=tmp_path)
    features, logits = (torch.cat([b[name] for b in batches[:2]]) for name in ("features", "logits"))
    estimates = module.explainer.reconstruct_logits(features)
    assert estimates is not None
    expected = float((estimates - logits[:, srae_fakes.EXPLAINED]).abs().mean())
    assert float(trainer.callback_metrics["val/f_reg"]) == pytest.approx(expected, rel=1e-5)
    (figures,) = trainer.validate(module, srae_fakes.Batches(batches[:2]), verbose=False)
    assert figures["val/f_reg"] == pytest.approx(expected, rel=1e-5)
    drawn = srae_fakes.make_selection(kind="random")
    pl.Trainer(**srae_fakes.QUIET).validate(drawn, srae_fakes.Batches(batches[:2]), verbose=False)


def test_dimensions_that_were_chosen_otherwise_are_refused(tmp_path: Path) -> None:
    trainer = srae_fakes.fit(srae_fakes.make_selection(), srae_fakes.make_batches(), 1, default_root_dir=tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    with pytest.raises(
        ValueError,
        match=r"a\.ckpt was trained with kind: lasso, not random; set model\.init_args\.selection\.kind: lasso",
    ):
        pl.Trainer(**srae_fakes.QUIET).test(
            srae_fakes.make_selection(kind="random"),
            image_loader(),
            ckpt_path=tmp_path / "a.ckpt",
            weights_only=False,
        )


def test_lasso_on_shards(tmp_path: Path) -> None:
    """Kept features and streamed images give the same; a test reads it back from a checkpoint."""
    shards = shard_fakes.write_split(tmp_path / "set", "train", 22)
    shard_fakes.write_split(shards, "test", 5)
    options = {"preprocessing": Preprocessing(size=32, resize=32), "val_fraction": 0.0}
    explained = {
        "explained_classes": [0, 2],
        "alpha": 1e-4,
        "class_map": "by_index",
    }  # of four logits the set has three
    found = []
    for cache in (True, False):
        data = shard_fakes.module_of(shards, cache=cache, **options)
        module = srae_fakes.make_selection(**explained)
        trainer = pl.Trainer(max_epochs=3, **{**srae_fakes.QUIET, "default_root_dir": tmp_path})
        trainer.fit(module, datamodule=data)
        found.append(module.explainer.head_state())
        trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
        assert ("train/f_reg" in trainer.callback_metrics) == cache  # streamed images are not computed once more
    assert found[0]["heads.weights"].any()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=2e-3, rtol=1e-2)
    tester = pl.Trainer(**srae_fakes.QUIET)
    fresh = srae_fakes.make_selection(**explained)
    (figures,) = tester.test(fresh, datamodule=data, ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=False)
    assert 0 <= figures["test/f_reg"] < 1
    for name, value in found[1].items():
        assert torch.equal(fresh.explainer.head_state()[name], value)


def test_each_class_is_fitted_on_its_own_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one pass, or in one for each two classes."""
    batches = srae_fakes.make_batches(5, sampled=True)
    features, logits, label, sampled = (
        torch.cat([b[name] for b in batches]) for name in ("features", "logits", "label", "sampled")
    )
    explained = srae_fakes.EXPLAINED
    expected = []
    for column, index in enumerate(explained):
        rows = sampled[:, column]
        of_class = label[rows, None] == index
        expected.append(whole_lasso(features[rows], logits[rows, index, None], of_class, 0.05))
    for room in (None, 2 * 8 * (srae_fakes.WIDTH + 1) ** 2):
        if room is not None:
            monkeypatch.setattr("lightning_modules.selected_features.SUMS_BYTES", room)
        module = srae_fakes.make_selection()
        trainer = srae_fakes.fit(module, batches, 7, default_root_dir=tmp_path)
        assert trainer.current_epoch == (1 if room is None else 2)
        for row, (w, b, contributions) in enumerate(expected):
            torch.testing.assert_close(module.explainer.heads.weights[row], w[0])
            torch.testing.assert_close(module.explainer.heads.bias[row], b[0])
            chosen = strongest(contributions, 2)[0]
            assert torch.equal(module.explainer.heads.indices[row], chosen.clamp(min=0))
    with pytest.raises(ValueError, match=r"trainer\.max_epochs is 1; give 2 or more"):
        srae_fakes.fit(srae_fakes.make_selection(), batches, 1, default_root_dir=tmp_path)


def test_contributions_of_earlier_passes_follow_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds them on the CPU; the device "meta" stands for any other."""
    module = srae_fakes.make_selection()
    monkeypatch.setattr(type(module), "device", torch.device("meta"))
    monkeypatch.setattr("lightning_modules.selected_features.SUMS_BYTES", 0)  # a class a pass
    module.trainer = pl.Trainer(**srae_fakes.QUIET, max_epochs=5)
    monkeypatch.setattr(pl.Trainer, "current_epoch", 1)
    module.contributions = torch.ones(len(srae_fakes.EXPLAINED), srae_fakes.WIDTH)
    module._begin_pass(sampled=True)
    assert list(module.rows) == [1]
    assert module.contributions is not None
    assert module.contributions.device.type == "meta"


class FirstEpoch(Checkpoint):
    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(Path(trainer.default_root_dir, "first.ckpt"), weights_only=False)


def test_passes_go_on_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.selected_features.SUMS_BYTES", 0)  # a class a pass
    batches = srae_fakes.make_batches(3, sampled=True)
    whole = srae_fakes.make_selection(num_shown="all")
    srae_fakes.fit(whole, batches, 5, FirstEpoch(), default_root_dir=tmp_path)
    resumed = srae_fakes.make_selection(num_shown="all")
    trainer = srae_fakes.fit(resumed, batches, 5, ckpt=tmp_path / "first.ckpt", default_root_dir=tmp_path)
    assert trainer.current_epoch == 3
    for name, value in whole.explainer.head_state().items():
        assert torch.equal(resumed.explainer.head_state()[name], value)


def test_every_dimension_with_a_weight_is_shown(tmp_path: Path) -> None:
    module, batches = srae_fakes.make_selection(num_shown="all", alpha=0.01), srae_fakes.make_batches(5)
    for batch in batches:  # a logit rests on three dimensions, one of which speaks against it
        batch["logits"] = batch["logits"] - 3 * batch["features"][:, 10:14] + 2 * batch["features"][:, 20:21]
    trainer = srae_fakes.fit(module, batches, 1, default_root_dir=tmp_path)
    heads = module.explainer.heads
    used = (heads.weights != 0).sum(dim=1)
    assert int(used.max()) > 2
    assert torch.equal(heads.alive.sum(dim=1), used)
    for row, weights in enumerate(heads.weights):
        shown = heads.indices[row][heads.alive[row]]
        assert sorted(shown.tolist()) == weights.nonzero().flatten().tolist()
    # More dimensions than num_features are read back, from a checkpoint and from an exported explainer.
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    fresh = srae_fakes.make_selection(num_shown="all", alpha=0.01)
    (figures,) = pl.Trainer(**srae_fakes.QUIET).test(
        fresh, image_loader(), ckpt_path=tmp_path / "a.ckpt", verbose=False, weights_only=False
    )
    assert figures["test/dimensions_drawn"] == pytest.approx(float(used.float().mean()))
    module.explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer")
    images = next(iter(image_loader()))["image"]
    explanation = module.explainer.explain(images)
    assert explanation.heatmaps.shape[1] == int(used.max())
    torch.testing.assert_close(loaded.explain(images).heatmaps, explanation.heatmaps)


def image_loader() -> DataLoader[Any]:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = {"image": images, "label": torch.tensor([0, 1, 3]), "key": list("abc")}
    return DataLoader([batch], batch_size=None)  # type: ignore[arg-type]


def test_a_large_alpha_leaves_the_intercept_alone(tmp_path: Path) -> None:
    """The estimate is then the mean logit of the class's weighted images, and no dimension is shown."""
    module, batches = srae_fakes.make_selection(alpha=1e3), srae_fakes.make_batches(3)
    srae_fakes.fit(module, batches, 1, default_root_dir=tmp_path)
    features = torch.cat([batch["features"] for batch in batches])
    estimates = module.explainer.reconstruct_logits(features)
    assert estimates is not None
    assert not module.explainer.heads.alive.any()
    torch.testing.assert_close(estimates, module.explainer.heads.bias.expand(len(features), -1))
    assert module.explainer.heads.bias.all()


def test_the_logit_needs_no_training() -> None:
    module = srae_fakes.make_selection(kind="logit", layer="classifier", explained_classes=None)
    assert not module.needs_checkpoint
    (figures,) = pl.Trainer(**srae_fakes.QUIET).test(module, image_loader(), verbose=False)
    assert figures["test/f_reg"] == pytest.approx(0, abs=1e-6)
    assert figures["test/f_cls"] == 1
    images = next(iter(image_loader()))["image"]
    explanation = module.explainer.explain(images)
    plain = ExcitationBackprop(module.explainer.backbone.model, contrastive=True)
    expected = plain.attribute(images, target=explanation.prediction)
    torch.testing.assert_close(explanation.heatmaps, expected, atol=1e-6, rtol=1e-4)


def test_random_dimensions_need_no_training(tmp_path: Path) -> None:
    module = srae_fakes.make_selection(kind="random", seed=4)
    assert not module.needs_checkpoint
    assert srae_fakes.make_selection(kind="random", num_shown=7).explainer.heads.indices.shape == (3, 7)
    before = module.explainer.head_state()
    srae_fakes.fit(module, srae_fakes.make_batches(), 3, default_root_dir=tmp_path)
    for name, value in module.explainer.head_state().items():
        assert torch.equal(value, before[name])
    other = srae_fakes.make_selection(kind="random", seed=5).explainer.heads.indices
    assert not torch.equal(module.explainer.heads.indices, other)
    (figures,) = pl.Trainer(**srae_fakes.QUIET).test(module, image_loader(), verbose=False) or [{}]
    assert "test/f_reg" not in figures


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="alpha is -1"):
        srae_fakes.make_selection(alpha=-1)
    with pytest.raises(ValueError, match="num_shown is 'all'; give a number: kind random"):
        srae_fakes.make_selection(kind="random", num_shown="all")
    with pytest.raises(ValueError, match="positive_weight is 0; give a number above 0 or 'balanced'"):
        srae_fakes.make_selection(positive_weight=0)
    with pytest.raises(ValueError, match=r"num_features is 65, but layer 'features\.2' has 64 dimensions"):
        srae_fakes.make_selection(num_features=65)
    with pytest.raises(ValueError, match=r"gives the 4 logits; layer 'features\.2' gives 64 numbers"):
        srae_fakes.make_selection(kind="logit")
