"""Tests and predictions of explainers: rows for each explained class, also of trained explainers with heads of their own."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules import MuLassoModule, SRAEModule
from lightning_modules.evaluated import LOGITS_AT_ONCE, EvaluatedModule
from tests.lightning_modules.test_attribution import FLOWER_NET, QUIET, flowers, module_of
from vitrine.core.batch import Batch
from vitrine.explainers import MuLassoOptions, SRAEOptions
from vitrine.explainers.base import Explainer

HEADS = [0, 2, 5]


def srae(**options: Any) -> SRAEModule:
    torch.manual_seed(0)
    srae_options = SRAEOptions("features", image_size=64, num_features=2, hidden=(8,), explained_classes=HEADS)
    return SRAEModule(FLOWER_NET, srae_options, **options)


def mu_lasso(**options: Any) -> MuLassoModule:
    module = MuLassoModule(FLOWER_NET, MuLassoOptions(num_heatmaps=2, image_size=64), **options)
    torch.manual_seed(0)
    module.explainer.weights.data.normal_()
    return module


@pytest.mark.parametrize(("make", "heads"), [(srae, HEADS), (mu_lasso, range(6))])
def test_the_label_is_explained_where_it_has_a_head(make: Any, heads: Any, flower_shards: Path) -> None:
    module: EvaluatedModule = make(explain="label")
    data = flowers(flower_shards)
    data.setup("test")
    seen = set()
    for batch in data.test_dataloader():
        target = module.test_step(batch).target.tolist()
        logits = module.explainer.backbone(batch["image"]).logits
        for row, label in enumerate(batch["label"].tolist()):
            seen.add(label)
            best = max(heads, key=lambda index: float(logits[row, index]))
            assert target[row] == (label if label in heads else best)
    assert len(seen) == 6


@pytest.mark.parametrize("make", [srae, mu_lasso])
def test_faithfulness_counts_each_image_once(make: Any, flower_shards: Path, tmp_path: Path) -> None:
    found: list[dict[str, float]] = []
    for explain in ("predicted", "top_k"):
        module = make(explain=explain, top_k=3)
        module.needs_checkpoint = False
        trainer = pl.Trainer(default_root_dir=tmp_path, **QUIET)
        trainer.test(module, datamodule=flowers(flower_shards), verbose=False)
        found.append({name: float(value) for name, value in trainer.callback_metrics.items()})
    once = ["test/f_reg", "test/f_cls"] if make is srae else ["test/reconstruction_auc"]
    for name in once:
        assert found[0][name] == pytest.approx(found[1][name], nan_ok=True)
    assert found[0]["test/iou"] != found[1]["test/iou"]


def test_a_prediction_has_the_heatmaps_of_all_classes(flower_shards: Path) -> None:
    module = srae(explain="top_k", top_k=2)
    data = flowers(flower_shards)
    data.setup("test")
    batch = next(iter(data.test_dataloader()))
    joined, first = module.predict_step(batch), module.test_step(batch)
    assert joined.heatmaps.shape[1] == 2 * first.heatmaps.shape[1]
    torch.testing.assert_close(joined.heatmaps[:, :2], first.heatmaps)
    assert torch.equal(joined.target, first.target)


def test_logits_do_not_depend_on_how_many_images_go_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module, images = module_of(), torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = module.logits_of(images)
    monkeypatch.setattr("lightning_modules.evaluated.LOGITS_AT_ONCE", 2)
    torch.testing.assert_close(module.logits_of(images), expected)
    assert LOGITS_AT_ONCE > 2
    assert not expected.requires_grad


def test_a_batch_without_names_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of()
    monkeypatch.setattr(Explainer, "classes", ["red"], raising=False)
    found = module.predict_step(Batch(image=torch.rand(2, 3, 64, 64)))
    assert found.heatmaps.shape == (2, 1, 64, 64)
