"""ImageNet, Tiny ImageNet and sets of salient objects: their splits, labels and what a test measures on them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from datamodules import ImageNetDataModule, SaliencyDataModule, TinyImageNetDataModule
from datamodules.base import ShardDataModule
from datamodules.options import LoadingOptions
from lightning_modules.base import ExplainerModule
from tests.helpers import image_sets as sets
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.an8flower.network import FlowerNet
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer
from vitrine.explainers.base import Target

SETS = Path(__file__).parents[1] / "vitrine" / "data" / "shards" / "image_sets.py"
OPTIONS: dict[str, Any] = {
    "preprocessing": Preprocessing(size=24, resize=None),
    "loading": LoadingOptions(batch_size=2, num_workers=0),
}


def ready(data: ShardDataModule, stage: str = "test") -> ShardDataModule:
    data.prepare_data()
    data.setup(stage)
    return data


def counts(data: ShardDataModule) -> dict[str, int]:
    return {name: split.index.count for name, split in data.splits.items()}


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    return Path(sets.write_imagenet(tmp_path / "imagenet"))


def test_imagenets_test_is_the_official_validation_set(imagenet: Path, tmp_path: Path) -> None:
    blacklist = sets.write_text(imagenet / "blacklist.txt", "4\n")
    data = ready(ImageNetDataModule(tmp_path / "shards", imagenet, blacklist=blacklist, **OPTIONS))
    assert counts(data) == {"train": 6, "test": 3}
    assert data.annotations == {"boxes"}
    assert not data.multi_label
    before = {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")}
    data.prepare_data()
    assert {path: path.stat().st_mtime_ns for path in data.shards.rglob("*")} == before
    found = {
        key: box for batch in data.test_dataloader() for key, box in zip(batch["key"], batch["boxes"], strict=True)
    }
    torch.testing.assert_close(found[sets.val_name(1)], torch.tensor([[0.0, 0, 24, 24]]))
    torch.testing.assert_close(found[sets.val_name(3)], torch.tensor([[10, 12, 12, 9 * 2.4]]))


@pytest.mark.parametrize(("per_class", "splits"), [(1, {"train": 3, "test": 4}), (0, {"test": 4})])
def test_a_part_of_imagenets_training_set(
    per_class: int, splits: dict[str, int], imagenet: Path, tmp_path: Path
) -> None:
    assert counts(ready(ImageNetDataModule(tmp_path / "shards", imagenet, per_class=per_class, **OPTIONS))) == splits


def test_imagenet_with_further_files(imagenet: Path, tmp_path: Path) -> None:
    shutil.move(imagenet / "ILSVRC" / "Annotations" / "CLS-LOC", tmp_path / "xml")
    truth = shutil.move(imagenet / "LOC_val_solution.csv", tmp_path / "truth.csv")
    files: dict[str, Any] = {"annotations": tmp_path / "xml", "ground_truth": truth}
    data = ready(ImageNetDataModule(tmp_path / "shards", imagenet, **files, **OPTIONS))
    assert counts(data) == {"train": 6, "test": 4}
    assert data.annotations == {"boxes"}


def test_imagenet_without_training_images(imagenet: Path, tmp_path: Path) -> None:
    shutil.rmtree(imagenet / "ILSVRC" / "Data" / "CLS-LOC" / "train")
    assert counts(ready(ImageNetDataModule(tmp_path / "shards", imagenet, **OPTIONS))) == {"test": 4}


def test_tiny_imagenet(tmp_path: Path) -> None:
    root = sets.write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    own = ready(TinyImageNetDataModule(tmp_path / "own", root, **OPTIONS))
    assert counts(own) == {"train": 6, "test": 3}
    assert own.annotations == {"boxes"}
    wnids = [*sets.WNIDS, *(f"n099{number:05d}" for number in range(997))]
    names = sets.write_text(tmp_path / "wnids.txt", "\n".join(reversed(wnids)))
    imagenet = ready(
        TinyImageNetDataModule(tmp_path / "imagenet", root, class_index="imagenet", wnids=names, **OPTIONS)
    )
    assert len(imagenet.classes) == 1000
    by_key = [
        {key: int(label) for batch in data.test_dataloader() for key, label in zip(batch["key"], batch["label"], strict=True)}
        for data in (own, imagenet)
    ]  # fmt: skip
    assert by_key == [{"val_0": 2, "val_1": 1, "val_2": 0}, {"val_0": 0, "val_1": 1, "val_2": 2}]
    shutil.rmtree(root / "train")
    assert counts(ready(TinyImageNetDataModule(tmp_path / "again", root, **OPTIONS))) == {"test": 3}


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


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        (ImageNetDataModule, "imagenet --root DIR --split val"),
        (TinyImageNetDataModule, "tiny-imagenet --root tiny-imagenet-200 --split val"),
        (SaliencyDataModule, "saliency --root DIR"),
    ],
)
def test_without_root_and_shards_the_remedy_is_named(kind: type[ShardDataModule], command: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"python -m vitrine\.shards {command} --out {tmp_path}/shards/test"):
        ready(kind(tmp_path / "shards"))
