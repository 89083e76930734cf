"""Inversion masks in every command, and the fit of their predictor; as a script, both over ranks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks.checkpoint import RunCheckpoint
from lightning_modules import InversionModule
from lightning_modules.explained import first_of_each_image
from lightning_modules.step_progress import show_beside_bar
from tests.helpers.flat_options import make_flat
from tests.helpers.ranks import RankPool
from vitrine.attribution.inversion import InversionResult
from vitrine.backbones.copying import weight_digest
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.options import OptionError
from vitrine.explainers import load
from vitrine.explainers.inversion.explainer import InversionExplainer, InversionOptions
from vitrine.metrics import LocalizationError, MetricOptions, PointingGame
from vitrine.metrics.inversion_convergence import InversionConvergence

ROOT = Path(__file__).parents[2]
SIZE = 32
CLASSES = 6
LAST = Path("checkpoints", "last.ckpt")


def make_module(**options: Any) -> InversionModule:
    """On the trained network that the repository holds; few steps."""
    torch.manual_seed(0)
    backbone = BackboneOptions(
        "vitrine.data.an8flower.network:FlowerNet",
        str(ROOT / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"),
    )
    settings = {"image_size": SIZE, "inversion_steps": 1, "class_steps": 2}
    return make_flat(InversionModule, backbone, **{**settings, **options})


def make_batches(count: int = 2, size: int = 4, *, several: bool = False) -> list[Batch]:
    """Blotches; with several classes an image, or one."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for number in range(count):
        images = torch.rand(size, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3) * 4 - 2
        label = torch.randint(CLASSES, (size,), generator=generator)
        if several:
            label = (torch.rand(size, CLASSES, generator=generator) < 0.4).float()
            label[0] = 0
        batches.append(Batch(image=images, label=label, key=[f"{number}_{row}" for row in range(size)]))
    return batches


def trainer_of(folder: Path, *callbacks: pl.Callback, epochs: int = 1, **options: Any) -> pl.Trainer:
    keeps = any(isinstance(callback, RunCheckpoint) for callback in callbacks)
    settings: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_checkpointing": keeps, "enable_model_summary": False,
        "enable_progress_bar": False, "num_sanity_val_steps": 0, "inference_mode": False,
    }  # fmt: skip
    return pl.Trainer(max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks), **{**settings, **options})


def loader(batches: list[Batch]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def fit(module: InversionModule, batches: list[Batch], trainer: pl.Trainer, **options: Any) -> dict[str, Tensor]:
    trainer.fit(module, loader(batches), loader(batches[:1]), weights_only=False, **options)
    return dict(trainer.callback_metrics)


def head_of(module: InversionModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.explainer.head_state().items()}


def test_a_fit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing to fit.*set model.init_args.inversion.predictor to"):
        fit(make_module(), make_batches(), trainer_of(tmp_path))


@pytest.mark.parametrize(
    ("option", "value", "works"),
    [
        ("image_size", 30, "32, which works"),
        ("inversion_layer", "blocks.0.nrm1", "'blocks.0.norm1', which works"),
        ("mask_layers", ["fc_norm"], r"\['blocks.0.norm1'\], which works"),
    ],
)
def test_what_does_not_fit_the_network_is_named_as_in_a_configuration(option: str, value: Any, works: str) -> None:
    small = {"embed_dim": 24, "depth": 1, "num_heads": 2, "img_size": 32, "patch_size": 8}
    backbone = BackboneOptions("timm:vit_tiny_patch16_224", num_classes=5, arguments=small)
    with pytest.raises(OptionError, match=rf"model.init_args.inversion.{option} is .*; give {works}"):
        InversionModule(backbone, InversionOptions(**{"image_size": 32, option: value}))


def test_only_a_predictor_needs_a_checkpoint() -> None:
    assert not make_module().needs_checkpoint
    assert make_module(predictor=4).needs_checkpoint


@pytest.mark.parametrize("explain", ["prediction", "label"])
def test_predict_optimises_as_the_explainer_does(explain: Any, tmp_path: Path) -> None:
    """Whatever the number of masks that are optimised at once."""
    module, batches = make_module(explain=explain, internal_batch_size=3), make_batches()
    found: Any = trainer_of(tmp_path).predict(module, loader(batches))
    for batch, explanation in zip(batches, found, strict=True):
        target = batch["label"] if explain == "label" else None
        expected = module.explainer.explain(batch["image"], target)
        torch.testing.assert_close(explanation.heatmaps, expected.heatmaps)
        assert torch.equal(explanation.target, expected.target)
        assert target is None or torch.equal(explanation.target, target)


def test_every_class_of_an_image_is_explained(tmp_path: Path) -> None:
    """And counted in the metrics; a report gets one mask of each image."""
    module = make_module(explain="label", class_steps=1)
    (batch,) = make_batches(1, several=True)
    batch["boxes"] = [torch.tensor([[0.0, 0, SIZE, SIZE]])] * 4
    batch["box_labels"] = [torch.tensor([row.argmax()]) for row in batch["label"]]
    pairs = [(row, label) for row, label in batch["label"].nonzero().tolist()]
    module.annotation_metrics.append(PointingGame())
    kept: list[Any] = []

    class Keep(pl.Callback):
        @override
        def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *rest: Any) -> None:
            kept.append(outputs)

    (metrics,) = trainer_of(tmp_path, Keep()).test(module, loader([batch]), verbose=False)
    assert metrics["test/pointing_game/hits"] == 3
    assert metrics["test/pointing_game/hits"] + metrics["test/pointing_game/skipped"] == len(pairs) + 1
    first = batch["label"].argmax(dim=1)
    first[0] = kept[0].prediction[0]
    assert torch.equal(kept[0].target, first)
    expected = module.explainer.explain(batch["image"], first)
    torch.testing.assert_close(kept[0].heatmaps, expected.heatmaps)


def test_rows_hold_each_image_once_a_class() -> None:
    module = make_module(explain="label")
    (batch,) = make_batches(1, several=True)
    rows = module.rows_of(batch)
    hot = batch["label"].clone()
    hot[0, module.explainer.backbone(batch["image"][:1]).logits.argmax()] = 1
    expected = hot.nonzero()
    assert rows["label"].tolist() == expected[:, 1].tolist()
    assert rows["key"] == [batch["key"][row] for row in expected[:, 0].tolist()]
    assert torch.equal(rows["image"], batch["image"][expected[:, 0]])
    assert not batch["label"][0].any()
    nothing = Batch(image=batch["image"], label=torch.zeros(4, 0), key=batch["key"])
    assert module.rows_of(nothing) is nothing
    assert module.target_of(nothing) is None


def test_the_first_of_each_image_is_kept() -> None:
    explanation = make_module(inversion_steps=0, class_steps=0).explainer.explain(make_batches()[0]["image"])
    found = first_of_each_image(explanation, ["a", "b", "b", "c"])
    assert torch.equal(found.heatmaps, explanation.heatmaps[[0, 1, 3]])
    assert first_of_each_image(explanation, list("abcd")) is explanation


@pytest.mark.parametrize(("command", "stage"), [("test", "test"), ("validate", "val")])
@pytest.mark.parametrize(("tolerance", "count"), [(0.0, 8), (1.0, 0)])
def test_masks_not_at_rest_are_counted(command: str, stage: str, tolerance: float, count: int, tmp_path: Path) -> None:
    module, batches = make_module(tolerance=tolerance), make_batches()
    trainer = trainer_of(tmp_path)
    (metrics,) = getattr(trainer, command)(module, loader(batches), verbose=False)
    assert metrics[f"{stage}/inversion/not_converged"] == count
    assert metrics[f"{stage}/inversion/degenerate"] == 0
    assert metrics[f"{stage}/inversion/steps"] == 3
    losses = [module.explainer.explanation_and_result(batch["image"])[1].loss.mean() for batch in batches]
    assert metrics[f"{stage}/inversion/loss"] == pytest.approx(float(sum(losses)) / 2, rel=1e-4)
    assert trainer.progress_bar_metrics[f"{stage}/inversion/loss"] == metrics[f"{stage}/inversion/loss"]


def test_a_test_without_steps_has_no_final_loss(tmp_path: Path) -> None:
    module = make_module(inversion_steps=0, class_steps=0)
    (metrics,) = trainer_of(tmp_path).test(module, loader(make_batches()), verbose=False)
    assert metrics["test/inversion/not_converged"] == metrics["test/inversion/steps"] == 0
    assert "test/inversion/loss" not in metrics


def test_degenerate_masks_and_losses_that_are_none() -> None:
    masks = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    masks[1], masks[2, 0, 0, 0] = 0.5, torch.nan
    loss = torch.tensor([1.0, 2.0, torch.nan, 6.0])
    converged, steps = torch.tensor([True, False, False, False]), torch.tensor([2, 2, 2, 0])
    convergence = InversionConvergence()
    convergence.update(InversionResult(torch.zeros(4, 2), masks, loss, steps, converged))
    assert {name: float(value) for name, value in convergence.compute().items()} == {
        "inversion/not_converged": 2, "inversion/degenerate": 2, "inversion/steps": 1.5, "inversion/loss": 3.0,
    }  # fmt: skip


def test_predict_says_how_many_masks_are_not_to_be_relied_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        trainer_of(tmp_path).predict(make_module(tolerance=0.0), loader(make_batches()))
    assert "8 masks did not converge within their steps, 0 are constant." in caplog.text


@pytest.mark.parametrize(("steps", "told"), [(19, 1), (18, 0)])
def test_a_long_run_says_once_beforehand_what_it_takes(
    steps: int, told: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = make_module(variant="paper", inversion_steps=1, class_steps=steps)
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        trainer_of(tmp_path).predict(module, loader(make_batches()))
    sentences = [text for text in caplog.messages if text.startswith("20 steps a mask take about")]
    assert len(sentences) == told
    assert all("on cpu: 0:00:0" in text and "for 8 masks." in text for text in sentences)


@pytest.mark.parametrize("bar", [TQDMProgressBar, RichProgressBar])
def test_the_progress_bar_shows_the_loss(bar: type[pl.Callback], tmp_path: Path) -> None:
    module, shown = make_module(), []

    class Look(pl.Callback):
        @override
        def on_test_batch_end(self, trainer: Any, *rest: Any) -> None:
            own = trainer.progress_bar_callback.test_progress_bar
            shown.append(own.postfix if bar is TQDMProgressBar else own.description)

    trainer = trainer_of(tmp_path, bar(), Look(), enable_progress_bar=True)
    trainer.test(module, loader(make_batches(1)), verbose=False)
    loss = module.explainer.explanation_and_result(make_batches(1)[0]["image"])[1].loss.mean()
    assert shown[0].endswith(f"loss {float(loss):.3g}")
    show_beside_bar(trainer_of(tmp_path), "nothing to write to")


# The fit


def naive_losses(module: InversionModule, images: Tensor, target: int | None) -> tuple[float, float]:
    """Of the predicted ω of one image."""
    explainer = module.explainer
    model = explainer.backbone.model
    with torch.no_grad():
        objective, reading, start = explainer.problem(images, target)
        mask = objective.masks(start)
        shown, hidden = objective.shown(mask), objective.shown(1 - mask)
        layers = {name: torch.Tensor() for name in (explainer.layers.inversion,)}
        hook = model.get_submodule(explainer.layers.inversion).register_forward_hook(
            lambda _module, _inputs, output: layers.update(now=output.clone())
        )
        whole = (model(images), layers["now"])[1]
        kept = model(shown).softmax(1)[0, reading.classes[0]]
        found = layers["now"]
        hook.remove()
        left = model(hidden).softmax(1)[0, reading.classes[0]]
    return float((found - whole).square().sum() / whole.square().sum()), float(left - kept)


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_is_that_of_each_mask(several: bool, tmp_path: Path) -> None:
    """Transcribed, image by image and class by class, without penalties."""
    module = make_module(variant="paper", predictor=4, explain="label", inversion_share=0.3)
    (batch,) = make_batches(1, several=several)
    rows = module.rows_of(batch)
    pairs = zip(rows["image"], rows["label"].tolist(), strict=True)
    naive = [naive_losses(module, image[None], label) for image, label in pairs]
    inversion, of_class = (sum(column) / len(naive) for column in zip(*naive, strict=True))
    found = fit(module, [batch], trainer_of(tmp_path))
    assert found["train/loss/inversion"] == pytest.approx(inversion, rel=1e-3)
    assert found["train/loss/class"] == pytest.approx(of_class, abs=1e-4)
    assert found["train/loss"] == pytest.approx(0.3 * inversion + of_class, abs=1e-4)


def test_a_fit_lowers_the_losses_through_a_backbone_behind_glass(tmp_path: Path) -> None:
    module, batches = make_module(predictor=16, lr=1e-2, inversion_share=0.1), make_batches()
    digest = module.explainer.backbone.digest
    before = fit(make_module(predictor=16, lr=1e-9, inversion_share=0.1), batches, trainer_of(tmp_path))
    after = fit(module, batches, trainer_of(tmp_path, epochs=15))
    assert set(after) == {
        f"{part}/{name}" for part in ("train", "val") for name in ("loss", "loss/inversion", "loss/class")
    }
    for name in ("train/loss", "val/loss"):
        assert after[name] < before[name] - 0.01
    model = module.explainer.backbone.model
    assert weight_digest(model.state_dict()) == digest
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert not any(child.training or child._forward_hooks for child in model.modules())


def test_validation_in_a_fit_measures_what_the_training_lowers(tmp_path: Path) -> None:
    (batch,) = make_batches(1)
    found = fit(make_module(predictor=4, lr=1e-9), [batch], trainer_of(tmp_path))
    for name in ("loss", "loss/inversion", "loss/class"):
        assert float(found[f"val/{name}"]) == pytest.approx(float(found[f"train/{name}"]), abs=1e-4)


def test_a_fit_shows_what_is_predicted_and_a_test_goes_on_from_there(tmp_path: Path) -> None:
    module, batches = make_module(predictor=8, lr=1e-2), make_batches()
    images = batches[0]["image"]
    shown: list[Tensor] = []

    class Show(pl.Callback):
        @override
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            shown.append(pl_module.explainer.explain(images).heatmaps)

    fit(module, batches, trainer_of(tmp_path, Show(), epochs=3))
    explainer = module.explainer
    assert explainer.settings == module.settings
    with torch.no_grad():
        objective, _, start = explainer.problem(images)
    assert start.std() > 1e-3
    torch.testing.assert_close(start.mean(dim=1), torch.full((4,), 0.1))
    torch.testing.assert_close(shown[0], objective.masks(start))
    (metrics,) = trainer_of(tmp_path).test(module, loader(batches[:1]), verbose=False)
    assert metrics["test/inversion/steps"] == 3
    stepped = explainer.explain(images).heatmaps
    assert (stepped - shown[0]).abs().mean() > 1e-4
    explainer.predictor = None
    assert (stepped - explainer.explain(images).heatmaps).abs().mean() > 1e-3


def test_a_checkpoint_holds_the_predictor_and_a_fit_goes_on_from_it(tmp_path: Path) -> None:
    batches = make_batches()
    whole = make_module(predictor=4)
    fit(whole, batches, trainer_of(tmp_path / "whole", epochs=4))
    half = make_module(predictor=4)
    trainer = trainer_of(tmp_path, StopAfter(2), RunCheckpoint(), epochs=4)
    fit(half, batches, trainer)
    assert trainer.current_epoch == 2
    saved = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in saved} == {"backbone", "predictor"}
    resumed = make_module(predictor=4)
    fit(resumed, batches, trainer_of(tmp_path, epochs=4), ckpt_path=tmp_path / LAST)
    for name, value in head_of(whole).items():
        assert torch.equal(value, head_of(resumed)[name])
    other = make_module(predictor=4, mask_layers=["features.0"])
    with pytest.raises(ValueError, match="was trained with mask_layers"):
        fit(other, batches, trainer_of(tmp_path), ckpt_path=tmp_path / LAST)


class StopAfter(pl.Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_what_is_exported_explains_the_same(tmp_path: Path) -> None:
    module, batches = make_module(predictor=4, class_penalty=0.5), make_batches()
    fit(module, batches, trainer_of(tmp_path, epochs=2))
    module.explainer.save(tmp_path / "explainer")
    loaded = load(tmp_path / "explainer")
    assert isinstance(loaded, InversionExplainer)
    assert loaded.settings == module.settings == replace(module.settings, class_steps=2, class_penalty=0.5)
    image = batches[0]["image"]
    torch.testing.assert_close(loaded.explain(image).heatmaps, module.explainer.explain(image).heatmaps)
    tuned = make_module(predictor=4, init_from=tmp_path / "explainer")
    assert not tuned.needs_checkpoint
    assert all(torch.equal(value, head_of(tuned)[name]) for name, value in head_of(module).items())


# Options


def test_a_tuned_alpha_is_taken_for_the_localisation_error() -> None:
    module = make_module(localization_alpha=1.5)
    (own,) = [metric for metric in module._metrics({"boxes"}) if isinstance(metric, LocalizationError)]
    assert own.alpha == 1.5
    module.metric_options = MetricOptions()
    (own,) = [metric for metric in module._metrics({"boxes"}) if isinstance(metric, LocalizationError)]
    assert own.alpha == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inversion_share": -1.0}, "inversion_share is -1.0; give 0 or more"),
        ({"internal_batch_size": 0}, "internal_batch_size is 0; give 1 or more"),
        ({"class_steps": -1}, "class_steps is -1"),
        ({"score": "rank"}, "score is 'rank'; give 'probability', 'log_probability', 'sigmoid' or 'logit'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make_module(**options)


# Over ranks


def share(batches: list[Batch], rank: int, world: int) -> list[Batch]:
    """One rank's images of each batch, the larger part for the first."""
    whole: list[Any] = list(batches)
    return [{name: value[rank::world] for name, value in batch.items()} for batch in whole]  # type: ignore[misc]


def figures_over_ranks(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """A fit with different numbers of masks on each rank, and a test in which the last rank has one batch less."""
    options: dict[str, Any] = {
        "devices": world,
        "strategy": "ddp" if world > 1 else "auto",
        "use_distributed_sampler": False,
    }
    module = make_module(variant="paper", predictor=4, explain="label", lr=1e-2, tolerance=5e-3)
    batches = share(make_batches(size=5, several=True), rank, world)
    fitted = fit(module, batches, trainer_of(folder, epochs=2, **options))
    last = 1 if rank < world - 1 or world == 1 else 0
    apart = share(make_batches(size=5), rank, world) + make_batches(1, size=3)[:last]
    trainer = trainer_of(folder, **options)
    tested, validated = (
        getattr(trainer, name)(module, loader(apart), verbose=False)[0] for name in ("test", "validate")
    )
    logged = {name: float(value) for name, value in (fitted | tested | validated).items()}
    return {"head": head_of(module), "logged": logged}


def test_two_ranks_equal_one(tmp_path: Path, ranks: RankPool) -> None:
    together = ranks.run(figures_over_ranks, 2, tmp_path, folder=tmp_path)[0]
    alone = figures_over_ranks(0, 1, tmp_path)
    for name, value in alone["head"].items():
        torch.testing.assert_close(together["head"][name], value, atol=1e-4, rtol=1e-3)
    assert together["logged"] == pytest.approx(alone["logged"], rel=1e-3, abs=1e-5)
    assert 0 < alone["logged"]["test/inversion/not_converged"] < 13
