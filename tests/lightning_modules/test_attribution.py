"""Attribution methods in the trainer: tested and applied like explainers that were trained, in one process and in two."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from callbacks.image_figures import ImageFigures
from callbacks.predictions import PredictionWriter
from callbacks.run_folder import MetricsFile
from datamodules import FlowerDataModule
from datamodules.options import LoadingOptions
from lightning_modules import AttributionModule
from tests.helpers.ranks import RankPool
from vitrine.attribution import Saliency
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.attribution import AttributionOptions

WEIGHTS = Path(__file__).parents[2] / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"
FLOWER_NET = BackboneOptions("vitrine.data.an8flower.network:FlowerNet", str(WEIGHTS))
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "num_sanity_val_steps": 0, "inference_mode": False,
}  # fmt: skip


def flowers(shards: Path, **options: Any) -> FlowerDataModule:
    loading = LoadingOptions(batch_size=4, num_workers=0)
    return FlowerDataModule(
        shards=shards, preprocessing=Preprocessing(size=64, resize=None), loading=loading, **options
    )


def module_of(method: str = "Saliency", **options: Any) -> AttributionModule:
    return AttributionModule(FLOWER_NET, AttributionOptions(method), **options)


def outcome(
    folder: Path, shards: Path, module: pl.LightningModule, others: Sequence[pl.Callback] = (), **options: Any
) -> dict[str, float]:
    """The figures of a test."""
    callbacks = [*others, MetricsFile(), ImageFigures()]
    trainer = pl.Trainer(default_root_dir=folder, callbacks=callbacks, **{**QUIET, **options})
    trainer.test(module, datamodule=flowers(shards), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def ranked(rank: int, folder: Path, shards: Path) -> dict[str, float]:
    return outcome(folder, shards, module_of(explain="both"), devices=2, strategy="ddp")


@pytest.mark.parametrize("explain", ["predicted", "label", "both"])
def test_a_test_measures_the_maps_of_the_method(explain: Any, flower_shards: Path, tmp_path: Path) -> None:
    module = module_of(explain=explain)
    found = outcome(tmp_path, flower_shards, module)
    data = flowers(flower_shards)
    data.setup("test")
    shares = []
    for batch in data.test_dataloader():
        prediction = module.explainer.backbone(batch["image"]).logits.argmax(dim=1)
        for row, (own, label) in enumerate(zip(prediction.tolist(), batch["label"].tolist(), strict=True)):
            wanted = {"predicted": [own], "label": [label], "both": list(dict.fromkeys([own, label]))}[explain]
            for index in wanted:
                maps = Saliency(module.explainer.backbone.model).attribute(batch["image"][row : row + 1], index)
                maps = maps.abs().amax(dim=1)
                shares.append(float((maps * (batch["mask"][row] != 0)).sum() / maps.sum()))
    assert found["test/energy_in_mask"] == pytest.approx(sum(shares) / len(shares), rel=1e-5)


def test_two_ranks_measure_what_one_does(flower_shards: Path, tmp_path: Path, ranks: RankPool) -> None:
    alone = outcome(tmp_path / "one", flower_shards, module_of(explain="both"))
    for of_rank in ranks.run(ranked, tmp_path / "two", flower_shards):
        assert of_rank.keys() == alone.keys()
        for name, value in alone.items():
            assert of_rank[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    for name in ("per_image.csv", "evaluation.json"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()


def test_a_prediction_shows_several_classes_of_an_image(
    flower_shards: Path, class_folder: Path, tmp_path: Path
) -> None:
    data = flowers(flower_shards, predict_root=class_folder / "test")
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[PredictionWriter()], **QUIET)
    trainer.predict(module_of(explain="top_k", top_k=3), datamodule=data, return_predictions=False)
    (table,) = (tmp_path / "predictions").glob("*.csv")
    lines = table.read_text().splitlines()
    assert "label_3" in lines[0]
    assert len(lines) == 5
    assert len(list((tmp_path / "predictions").rglob("[0-9][0-9]_*.png"))) == 4 * 3


def test_a_fit_of_nothing_is_refused(flower_shards: Path, tmp_path: Path) -> None:
    trainer = pl.Trainer(default_root_dir=tmp_path, max_epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"An attribution method needs no training.*train\.py test"):
        trainer.fit(module_of(), datamodule=flowers(flower_shards))


def test_a_method_that_does_not_suit_the_network_stops_before_the_test(flower_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="AttentionRollout"):
        outcome(tmp_path, flower_shards, module_of("AttentionRollout"))
    assert not list(tmp_path.iterdir())


def test_half_precision_and_validation(flower_shards: Path, tmp_path: Path) -> None:
    full = outcome(tmp_path / "full", flower_shards, module_of())
    half = outcome(tmp_path / "half", flower_shards, module_of(), precision="bf16-mixed")
    assert half["test/iou"] == pytest.approx(full["test/iou"], rel=0.1)
    assert json.loads((tmp_path / "half" / "metrics.json").read_text())["test/iou"] == pytest.approx(half["test/iou"])
    trainer = pl.Trainer(default_root_dir=tmp_path, **QUIET)
    trainer.validate(module_of(), datamodule=flowers(flower_shards), verbose=False)
    assert not torch.is_inference_mode_enabled()
