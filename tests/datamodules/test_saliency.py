"""Sets of salient objects: masks, no classes, and what a test measures on them."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules import SaliencyDataModule
from lightning_modules.base import ExplainerModule
from tests.helpers import image_sets as sets
from tests.helpers.image_datamodules import OPTIONS, counts, ready
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.an8flower.network import FlowerNet
from vitrine.explainers import Explainer
from vitrine.explainers.base import Target


@pytest.mark.parametrize(("layout", "split"), [("MSRA-B", "test"), ("ECSSD", "test"), ("DUTS-TR", "train")])
def test_saliency_has_masks_and_no_classes(layout: str, split: str, tmp_path: Path) -> None:
    root = sets.write_saliency(tmp_path / "set", layout)
    data = ready(SaliencyDataModule(tmp_path / "shards", root, **OPTIONS))
    assert counts(data) == {split: 3}
    assert data.classes == []
    assert data.annotations == ({"mask"} if split == "test" else frozenset())
    if split == "test":
        batch = next(iter(data.test_dataloader()))
        assert batch["label"].shape == (2, 0)
        assert batch["mask"].float().mean() == 0.5
        assert len(data.panel(2)["key"]) == 2


class Brightness(Explainer):
    """A map of the images' own brightness, for whatever the backbone predicts."""

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        logits = self.backbone.model(images)
        prediction = logits.argmax(dim=1)
        assert target is None
        names = [["brightness"]] * len(images)
        maps = images.mean(dim=1, keepdim=True)
        return Explanation(maps, torch.ones(len(images), 1), names, prediction, prediction, logits)


class Seen(ExplainerModule):
    """Keeps what was explained."""

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        explanation = super().test_step(batch)
        self.shown = [*getattr(self, "shown", []), *explanation.target.tolist()]
        return explanation


def test_a_test_on_salient_objects_explains_the_prediction(tmp_path: Path) -> None:
    """And measures what masks allow, with as many images as there are."""
    data = SaliencyDataModule(tmp_path / "shards", sets.write_saliency(tmp_path / "set", "ECSSD"), **OPTIONS)
    torch.manual_seed(0)
    module = Seen(Brightness(FrozenBackbone(FlowerNet())))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (figures,) = trainer.test(module, datamodule=data, verbose=False)
    assert len(module.shown) == 3
    assert figures["test/energy_in_mask/area"] == 0.5
    assert 0 < figures["test/iou"] < 100
    assert figures["test/iou/skipped"] == figures["test/energy_in_mask/skipped"] == figures["test/iou/degenerate"] == 0
