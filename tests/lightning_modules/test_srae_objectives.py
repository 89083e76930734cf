"""Fits of what the SRAE is compared with, of a shared trunk, with pretraining, and on each head's own samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from typing_extensions import override

from callbacks.checkpoint import RunCheckpoint
from lightning_modules import SRAEModule
from tests.helpers import srae_fakes
from vitrine.core.checkpoint_files import last_checkpoint


@pytest.mark.parametrize(
    "options",
    [{"objective": "nn"}, {"objective": "sae"}, {"trunk": "shared"}, {"trunk": "shared", "objective": "nn"}],
    ids=str,
)
def test_faithful_objectives_become_faithful(tmp_path: Path, options: dict[str, Any]) -> None:
    batches = srae_fakes.make_batches()
    before, after = (
        srae_fakes.fit(
            srae_fakes.make_module(hidden=(32,), **options), batches, epochs, default_root_dir=tmp_path
        ).callback_metrics
        for epochs in (1, 40)
    )
    assert after["train/loss/faithfulness"] < before["train/loss/faithfulness"] / 4
    assert (after["train/loss/reconstruction"] == 0) == (options.get("objective") == "nn")
    assert (after["train/loss/pull_away"] == 0) == ("objective" in options)


def test_the_shared_reconstruction_weighs_as_those_of_all_heads(tmp_path: Path) -> None:
    module = srae_fakes.make_module(trunk="shared", objective="sae", beta=2.0)
    (batch,) = srae_fakes.make_batches(1)
    output = module.heads(batch["features"])
    error = float((output.decoded - batch["features"]).square().mean().detach())
    metrics = srae_fakes.fit(module, [batch], 1, default_root_dir=tmp_path).callback_metrics
    assert float(metrics["train/loss/reconstruction"]) == pytest.approx(error, rel=1e-5)
    assert float(metrics["train/loss"]) == pytest.approx(
        float(metrics["train/loss/faithfulness"]) + 2 * error, rel=1e-5
    )


# An autoencoder and its predictor


@pytest.mark.parametrize("options", [{}, {"trunk": "shared"}, {"classes_at_once": 1}], ids=str)
def test_the_predictor_of_an_autoencoder_is_weighted_least_squares(tmp_path: Path, options: dict[str, Any]) -> None:
    options = {"objective": "cae", "hidden": (32,), "lr": 1e-3, **options}
    module = srae_fakes.make_module(**options)
    before = module.heads.predictors().detach().clone()
    batches = srae_fakes.make_batches(3)
    srae_fakes.fit(module, batches, 2, RunCheckpoint(), default_root_dir=tmp_path)
    features, logits, label = (torch.cat([b[name] for b in batches]) for name in ("features", "logits", "label"))
    found = module.heads.predictors().detach()
    for row, index in enumerate(srae_fakes.EXPLAINED):
        rows = torch.full((len(features),), row)
        embedding = module.heads.embed(features, rows).detach().double().numpy()
        root = np.sqrt(np.where(label == index, 5.0, 1.0))
        target = logits[:, index].double().numpy()
        v, _, rank, _ = np.linalg.lstsq(embedding * root[:, None], target * root, rcond=1e-5)
        assert rank == 3
        np.testing.assert_allclose(found[row], v, rtol=1e-3, atol=1e-3)
        means = embedding[label == index].mean(axis=0) * v
        np.testing.assert_allclose(module.mean_contributions[row], means, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, before)
    # The run's own checkpoint, which is written when the training ends, has them already.
    other = srae_fakes.make_module(**options)
    other.load_state_dict(torch.load(last_checkpoint(tmp_path), weights_only=False)["state_dict"])
    torch.testing.assert_close(other.heads.predictors().detach(), found)


def test_x_features_that_say_the_same_share_the_weight(tmp_path: Path) -> None:
    """And one that never fires gets none."""
    module: Any = srae_fakes.make_module(objective="cae", lr=0.0)
    last = module.heads[0].encoder[-2]
    last.weight.data[1] = last.weight.data[0] * (1 + 1e-7)
    last.weight.data[2], last.bias.data[2] = 0, -1
    srae_fakes.fit(module, srae_fakes.make_batches(), 1, default_root_dir=tmp_path)
    one, two, dead = module.heads[0].predictor.weight[0].tolist()
    assert one == pytest.approx(two, rel=1e-3)
    assert abs(one) < 100
    assert dead == 0


def test_an_autoencoder_is_trained_without_the_logits(tmp_path: Path) -> None:
    batches: list[Any] = srae_fakes.make_batches()
    others: list[Any] = [{**batch, "logits": -batch["logits"]} for batch in batches]
    encoders = []
    for chosen in (batches, others):
        module = srae_fakes.make_module(objective="cae")
        srae_fakes.fit(module, chosen, 2, default_root_dir=tmp_path)
        encoders.append({n: v for n, v in srae_fakes.state_of(module).items() if "predictor" not in n})
    for name, value in encoders[0].items():
        torch.testing.assert_close(encoders[1][name], value)


def test_estimates_are_not_validated_before_there_are_any(tmp_path: Path) -> None:
    module, batches = srae_fakes.make_module(objective="cae"), srae_fakes.make_batches()
    trainer = srae_fakes.fit(module, batches, 2, val=batches, default_root_dir=tmp_path)
    logged = set(trainer.callback_metrics)
    assert "train/loss/reconstruction" in logged
    assert not {name for name in logged if name.startswith("val/") and ("f_reg" in name or "f_cls" in name)}
    assert {"train/f_reg", "train/f_cls"} <= logged  # of the predictors that were fitted at the end
    (figures,) = trainer.validate(module, srae_fakes.Batches(batches), verbose=False)
    assert figures["val/f_reg"] >= 0


def test_heads_of_another_objective_are_refused(tmp_path: Path) -> None:
    module = srae_fakes.make_module(objective="cae")
    srae_fakes.fit(module, srae_fakes.make_batches(), 1, RunCheckpoint(), default_root_dir=tmp_path)
    other = srae_fakes.make_module(objective="sae")
    with pytest.raises(ValueError, match=r"last\.ckpt was trained with objective: cae, not sae; set .*objective: cae"):
        srae_fakes.fit(other, srae_fakes.make_batches(), 2, ckpt=last_checkpoint(tmp_path))


@pytest.mark.parametrize("stop", [{"max_steps": 3}, {"limit_train_batches": 1}], ids=str)
def test_a_shortened_fit_has_predictors_too(tmp_path: Path, stop: dict[str, Any]) -> None:
    module = srae_fakes.make_module(objective="cae")
    before = module.heads.predictors().detach().clone()
    srae_fakes.fit(module, srae_fakes.make_batches(), 2, default_root_dir=tmp_path, **stop)
    assert not torch.allclose(module.heads.predictors().detach(), before)


# Pretraining


def layers_of(module: SRAEModule, part: str) -> list[nn.Linear]:
    network = module.heads if module.explainer.options.trunk == "shared" else module.heads[0]  # type: ignore[index]
    return [layer for layer in network.get_submodule(part).modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("options", [{}, {"trunk": "shared"}, {"classes_at_once": 2, "objective": "sae"}], ids=str)
def test_layers_are_pretrained_one_after_the_other(tmp_path: Path, options: dict[str, Any]) -> None:
    module = srae_fakes.make_module(pretraining_epochs=1, **options)
    moved: list[list[bool]] = []
    logged: list[bool] = []

    class Record(pl.Callback):
        def __init__(self) -> None:
            self.before: list[Any] = []

        def now(self) -> list[Any]:
            parts = layers_of(module, "encoder") + layers_of(module, "decoder")[::-1]
            predictor = module.heads.predictors()[0]
            return [p.detach().clone() for p in [*(layer.weight for layer in parts), predictor]]

        @override
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            self.before = self.now()

        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            moved.append([not torch.equal(a, b) for a, b in zip(self.before, self.now(), strict=True)])
            logged.append("train/loss/faithfulness" in trainer.callback_metrics)

    srae_fakes.fit(module, srae_fakes.make_batches(), 3, Record(), default_root_dir=tmp_path)
    one, two, everything = [True, False, True, False, False], [False, True, False, True, False], [True] * 5
    assert moved[:3] == [one, two, everything]
    assert logged[:3] == [False, False, True]
    if "classes_at_once" in options:
        assert moved[3:] == [[False] * 5] * 3  # the first head is done


def test_pretraining_on_two_ranks_needs_a_strategy_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.srae.world_size", lambda: 2)
    with pytest.raises(
        ValueError, match=r"ddp_find_unused_parameters_true, or set model\.init_args\.training\.classes_at_once"
    ):
        srae_fakes.fit(srae_fakes.make_module(pretraining_epochs=1), srae_fakes.make_batches(1), 1)


def test_pretraining_leaves_epochs_for_the_rest() -> None:
    for options in ({}, {"classes_at_once": 2}):
        module = srae_fakes.make_module(pretraining_epochs=2, **options)
        with pytest.raises(ValueError, match=r"2 layers takes 4 epochs, which leaves none of trainer\.max_epochs 4"):
            srae_fakes.fit(module, srae_fakes.make_batches(1), 4)


# Samples of its own


@pytest.mark.parametrize(
    "options",
    [{}, {"pull_away_over": "features"}, {"pretraining_epochs": 1}, {"classes_at_once": 1}, {"objective": "nn"}],
    ids=str,
)
def test_a_head_is_trained_as_if_there_were_no_other_samples(tmp_path: Path, options: dict[str, Any]) -> None:
    together = srae_fakes.make_module(**options)
    start = srae_fakes.state_of(together)
    batches: list[Any] = srae_fakes.make_batches(sampled=True)
    srae_fakes.fit(together, batches, 3, default_root_dir=tmp_path)
    found = srae_fakes.state_of(together)
    for row, index in enumerate(srae_fakes.EXPLAINED):
        alone: Any = srae_fakes.make_module(**{**options, "explained_classes": [index]})
        alone.heads[0].load_state_dict({n[2:]: v for n, v in start.items() if n.startswith(f"{row}.")})
        own: list[Any] = [
            {n: v[batch["sampled"][:, row]] for n, v in batch.items() if n != "sampled"} for batch in batches
        ]
        srae_fakes.fit(alone, own, 3, default_root_dir=tmp_path)
        for name, value in alone.heads[0].state_dict().items():
            torch.testing.assert_close(found[f"{row}.{name}"], value, atol=1e-5, rtol=1e-4)
