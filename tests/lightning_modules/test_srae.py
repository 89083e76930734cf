"""Fitting SRAE heads: the loss is equation 5, heads do not disturb each other; as a script, a fit over ranks."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks import RestartDeadHeads
from lightning_modules import SRAEModule
from tests.helpers.flat_options import make_flat
from tests.helpers.ranks import RankPool
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.srae.heads import SeparateHeads

EXPLAINED = [0, 1, 3]


def make_module(**options: Any) -> SRAEModule:
    """Three heads with three x-features each, on an untrained network with four classes."""
    torch.manual_seed(0)
    backbone = BackboneOptions("squeezenet1_1", num_classes=4)
    settings = {"layer": "features.2", "num_features": 3, "hidden": (8,), "image_size": 32, "lr": 1e-2}
    return make_flat(SRAEModule, backbone, **{"explained_classes": EXPLAINED, **settings, **options})


def heads_of(module: SRAEModule) -> SeparateHeads:
    assert isinstance(module.heads, SeparateHeads)
    return module.heads


def make_batches(module: SRAEModule, count: int = 4, size: int = 12) -> list[Batch]:
    """Feature batches with labels that the logits follow."""
    width = module.explainer.features.sizes(32)[0]
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(count):
        features = torch.rand(size, width, generator=generator)
        logits = 4 * features[:, :4] - 1
        batches.append(Batch(features=features, logits=logits, label=logits.argmax(dim=1), key=[""] * size))
    return batches


def loader_of(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(module: SRAEModule, batches: list[Batch], epochs: int, folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, loader_of(batches))
    return trainer


def equation_5(module: SRAEModule, batch: Batch, weight: float) -> float:
    """Transcribed from the paper, image by image and dimension by dimension."""
    total = 0.0
    for head, index in zip(heads_of(module), EXPLAINED, strict=True):
        embedding, decoded, estimate, _ = (t.detach().double() for t in head(batch["features"]))
        weights = [weight if int(label) == index else 1.0 for label in batch["label"]]
        errors = (estimate - batch["logits"][:, index]).square().tolist()
        total += sum(w * e for w, e in zip(weights, errors, strict=True)) / sum(weights)
        dimensions = decoded.shape[1]
        for k in range(dimensions):
            residuals = (decoded[:, k] - batch["features"][:, k]).square().tolist()
            q_k = sum(w * r for w, r in zip(weights, residuals, strict=True)) / sum(weights)
            total += module.train_options.beta * math.log(1 + module.train_options.q * q_k) / dimensions
        columns = [column / column.norm() if column.norm() > 0 else column for column in embedding.T]
        n = len(columns)
        for i in range(n):
            for j in range(n):
                total += (
                    module.train_options.eta * float(columns[i] @ columns[j]) ** 2 / (n * (n - 1)) if i != j else 0.0
                )
    return total


@pytest.mark.parametrize("weight", [1.0, 7.0])
def test_the_loss_is_equation_5(weight: float, tmp_path: Path) -> None:
    module = make_module(positive_weight=weight, beta=0.7, eta=0.3, q=4.0)
    batch = make_batches(module, count=1)[0]
    expected = equation_5(module, batch, weight)
    seen: list[float] = []

    class Record(pl.Callback):
        @override
        def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
            seen.append(float(loss))

    fit(module, [batch], 1, tmp_path, Record())
    assert seen == [pytest.approx(expected, rel=1e-5)]


def test_weight_decays_act_on_their_own_parts(tmp_path: Path) -> None:
    module = make_module(encoder_decay=0.1, decoder_decay=0.2, predictor_decay=0.3)
    groups = list(module.parameter_groups())
    assert [group["weight_decay"] for group in groups] == [0.2, 0.4, 0.6]
    grouped = sum(len(group["params"]) for group in groups)
    assert grouped == len(list(module.explainer.parameters()))
    assert all(parameter.shape == (1, 3) for parameter in groups[2]["params"])


def test_one_run_trains_each_head_as_if_it_were_alone(tmp_path: Path) -> None:
    together = make_module()
    start = [{name: value.clone() for name, value in head.state_dict().items()} for head in heads_of(together)]
    batches = make_batches(together)
    fit(together, batches, 3, tmp_path)
    for row, index in enumerate(EXPLAINED):
        alone = make_module(explained_classes=[index])
        heads_of(alone)[0].load_state_dict(start[row])
        fit(alone, batches, 3, tmp_path)
        for name, value in heads_of(alone)[0].state_dict().items():
            torch.testing.assert_close(heads_of(together)[row].state_dict()[name], value)


def test_training_makes_heads_faithful_and_reports_it(tmp_path: Path) -> None:
    module = make_module()
    batches = make_batches(module, count=8)
    before = fit(make_module(), batches, 1, tmp_path).callback_metrics["train/f_reg"]
    metrics = fit(module, batches, 60, tmp_path).callback_metrics
    assert metrics["train/f_reg"] < before / 4
    assert metrics["train/f_cls"] > 0.9
    assert 0 <= metrics["train/alive_features"] <= 3


def test_the_backbone_stays_behind_glass(tmp_path: Path) -> None:
    module = make_module()
    digest = module.explainer.backbone.digest
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(image=images, label=torch.tensor([0, 1, 2, 3, 0, 1]), key=list("abcdef"))
    fit(module, [batch], 2, tmp_path)
    from vitrine.backbones.copying import weight_digest

    assert weight_digest(module.explainer.backbone.model.state_dict()) == digest
    assert not any(m.training for m in module.explainer.backbone.model.modules())


def test_multi_hot_labels_have_several_positives() -> None:
    module = make_module()
    label = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]])
    assert module.positives(label).tolist() == [[True, False, False], [False, True, True]]


def kill(module: SRAEModule, row: int) -> None:
    """A head none of whose x-features ever fires."""
    last = [layer for layer in heads_of(module)[row].encoder if isinstance(layer, torch.nn.Linear)][-1]
    last.bias.data.fill_(-1000.0)


def test_degenerate_heads_are_found_and_restarted(tmp_path: Path) -> None:
    module = make_module()
    kill(module, 1)
    others = [row for row in range(3) if row != 1]
    restart = RestartDeadHeads(every_n_epochs=1, max_restarts=1, until=1.0)
    fit(module, make_batches(module), 4, tmp_path, restart)
    assert restart.restarts.get(1) == 1
    last = [layer for layer in heads_of(module)[1].encoder if isinstance(layer, torch.nn.Linear)][-1]
    assert last.bias.abs().max() < 100
    assert module.mean_contributions[1].abs().sum() > 0
    assert all(module.mean_contributions[row].abs().sum() > 0 for row in others)


def test_a_head_that_stays_degenerate_is_reported(tmp_path: Path) -> None:
    module = make_module()
    module.explainer.classes = ["ant", "bee", "cat", "dog"]
    kill(module, 2)
    with pytest.warns(UserWarning, match="fewer than 2 x-features with a positive mean contribution: .*dog"):
        fit(module, make_batches(module), 1, tmp_path)
    assert module.metadata()["alive_features"]["dog"] == 0


def test_a_checkpoint_holds_the_heads_and_the_digest_only(tmp_path: Path) -> None:
    module = make_module()
    trainer = fit(module, make_batches(module), 1, tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in state if name.startswith("explainer.")} == {"backbone", "features", "heads"}
    digests = {value for name, value in state.items() if name.endswith("_extra_state")}
    assert digests == {module.explainer.backbone.get_extra_state()}
    assert (tmp_path / "a.ckpt").stat().st_size < 200_000
    other = make_module()
    other.explainer.backbone.digest = "0" * 64
    with pytest.raises(ValueError, match=f"{module.explainer.backbone.digest}.*{'0' * 64}"):
        other.load_state_dict(state)


def test_init_from_takes_over_the_heads(tmp_path: Path) -> None:
    module = make_module()
    fit(module, make_batches(module), 2, tmp_path)
    module.explainer.save(tmp_path / "explainer")
    tuned = make_module(init_from=tmp_path / "explainer")
    for one, two in zip(module.explainer.heads.parameters(), tuned.explainer.heads.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(ValueError, match="saved heads do not fit"):
        make_module(num_features=4, init_from=tmp_path / "explainer")
    with pytest.raises(FileNotFoundError, match=r"explainer\.json"):
        make_module(init_from=tmp_path / "nowhere")


def test_two_ranks_equal_one(ranks: RankPool, tmp_path: Path) -> None:
    one, figures_one = fit_on_rank(0, 1)
    two, figures_two = ranks.run(fit_on_rank, 2, folder=tmp_path)[0]
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-4, rtol=2e-3)
    assert figures_two == pytest.approx(figures_one, rel=1e-3, abs=1e-4)


def fit_on_rank(rank: int, world: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A fit over so many processes, each of which takes its rows of every batch."""
    module = make_module(positive_weight=5.0)
    whole: list[Any] = list(make_batches(module))
    shares: list[Any] = [{name: value[rank::world] for name, value in batch.items()} for batch in whole]
    trainer = pl.Trainer(
        accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto", max_epochs=3, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, loader_of(shares))
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return module.explainer.heads.state_dict(), figures
