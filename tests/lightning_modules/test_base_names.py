"""Where a run takes the names of its heatmaps from, and that its export keeps them."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks import Export
from lightning_modules.base import ExplainerModule
from tests.helpers.image_data import ImageData
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.explainers.base import Explainer, Target
from vitrine.explainers.loading import load

CLASSES = ["ant", "bee"]


class Colours(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))[:, :2]


class TwoHeatmaps(Explainer):
    """Two heatmaps for each of two classes."""

    def __init__(self, backbone: FrozenBackbone | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone or FrozenBackbone(Colours()), *args, **kwargs)
        self.weight = nn.Parameter(torch.ones(()))

    @override
    def heatmap_counts(self) -> dict[str, int]:
        return {self.class_name(index): 2 for index in range(2)}

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        logits = images.mean(dim=(2, 3))[:, :2]
        predicted = logits.argmax(dim=1)
        labels = [[self.heatmap_name(index, k, f"x-feature {k + 1}") for k in range(2)] for index in predicted.tolist()]
        return Explanation(images[:, :2], logits, labels, predicted, predicted, logits)


class Module(ExplainerModule):
    explainer: TwoHeatmaps

    def training_step(self, batch: Batch) -> Tensor:
        return self.explainer.weight * batch["image"].mean()


class Data(ImageData):
    classes = CLASSES

    def loader(self) -> DataLoader[Any]:
        images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        return DataLoader([{"image": image, "label": 0, "key": str(n)} for n, image in enumerate(images)])  # type: ignore[arg-type]

    train_dataloader = test_dataloader = predict_dataloader = loader


def trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder, callbacks=list(callbacks), accelerator="cpu", devices=1, logger=False, max_epochs=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def named(folder: Path, text: str = "ant: [feeler, '']") -> Path:
    """A folder with a file of names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.yaml").write_text(text, encoding="utf-8")
    return folder


def names_after_test(module: Module, folder: Path) -> dict[str, list[str]]:
    """The names that the explainer has after a test."""
    trainer(folder).test(module, datamodule=Data(), verbose=False)
    return module.explainer.heatmap_names


def test_the_option_goes_before_the_run_and_the_run_before_init_from(tmp_path: Path) -> None:
    explainer = TwoHeatmaps(classes=CLASSES)
    explainer.heatmap_names = {"bee": ["", "of the first"]}
    explainer.save(tmp_path / "first")
    run = tmp_path / "run"
    assert names_after_test(Module(TwoHeatmaps()), run) == {}
    assert names_after_test(Module(TwoHeatmaps(), init_from=tmp_path / "first"), run)["bee"] == [
        "",
        "of the first",
    ]
    named(run / "explainer")
    assert names_after_test(Module(TwoHeatmaps(), init_from=tmp_path / "first"), run)["ant"] == ["feeler", ""]
    other = named(tmp_path / "other", "ant: [leg, '']") / "names.yaml"
    assert names_after_test(Module(TwoHeatmaps(), names=other), run)["ant"] == ["leg", ""]


def test_a_prediction_knows_classes_from_the_checkpoint(tmp_path: Path) -> None:
    named(tmp_path / "explainer", "ant: [feeler, '']\nbee: [sting, wing]")
    module = Module(TwoHeatmaps())
    module.on_load_checkpoint({"classes": CLASSES, "meaning_of_heads": {}})
    found = trainer(tmp_path).predict(module, datamodule=Data())
    labels = {label for explanation in found or () for row in explanation.labels for label in row}  # type: ignore[union-attr]
    assert labels <= {"feeler", "x-feature 2", "sting", "wing"}
    assert labels & {"feeler", "sting"}


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_names_that_do_not_fit_stop_a_test_and_a_prediction(stage: str, tmp_path: Path) -> None:
    named(tmp_path / "explainer", "ant: [feeler]")
    with pytest.raises(ValueError, match=r"names\.yaml has 1 names for 'ant', which has 2 heatmaps"):
        getattr(trainer(tmp_path), stage)(Module(TwoHeatmaps(classes=CLASSES)), datamodule=Data())


def test_a_fit_goes_on_without_names_that_do_not_fit_and_keeps_them_beside(tmp_path: Path) -> None:
    named(tmp_path / "explainer", "ant: [feeler]")
    (tmp_path / "explainer" / "explainer.json").write_text('{"weight_digest": ""}')  # an earlier, smaller explainer
    module = Module(TwoHeatmaps())
    with pytest.warns(UserWarning, match="Heatmaps are shown without names: .* has 1 names for 'ant'"):
        trainer(tmp_path, Export()).fit(module, datamodule=Data())
    assert module.explainer.heatmap_names == {}
    assert (tmp_path / "explainer" / "names.yaml.old").read_text(encoding="utf-8") == "ant: [feeler]"


def test_a_fit_is_stopped_by_an_option_that_does_not_fit(tmp_path: Path) -> None:
    named(tmp_path, "cat: [paw]")
    with pytest.raises(ValueError, match="names for 'cat', which is no explained class"):
        trainer(tmp_path / "run").fit(Module(TwoHeatmaps(), names=tmp_path / "names.yaml"), datamodule=Data())


def test_names_written_while_a_run_goes_on_are_kept_as_they_are(tmp_path: Path) -> None:
    class Person(pl.Callback):
        @override
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            named(tmp_path / "explainer", "# by me\nant: [leg, '']\nbee: ['', '']\n")

    trainer(tmp_path, Export()).fit(
        Module(TwoHeatmaps(), lambda parameters: SGD(parameters, lr=0.0)), datamodule=Data()
    )
    named(tmp_path / "explainer", "ant: [feeler, '']\nbee: ['', '']\n")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="names.yaml|Heatmaps")
        trainer(tmp_path, Person(), Export()).fit(
            Module(TwoHeatmaps(), lambda parameters: SGD(parameters, lr=0.0)), datamodule=Data()
        )
    text = (tmp_path / "explainer" / "names.yaml").read_text(encoding="utf-8")
    assert text == "# by me\nant: [leg, '']\nbee: ['', '']\n"
    assert sorted(path.name for path in (tmp_path / "explainer").glob("names*")) == ["names.yaml"]


class MultiLabelData(Data):
    multi_label = True


class UnlabelledData(Data):
    multi_label = True
    classes: list[str] = []  # noqa: RUF012 - as of its base


def test_a_run_knows_whether_images_have_several_classes(tmp_path: Path) -> None:
    module = Module(TwoHeatmaps())
    trainer(tmp_path, Export()).fit(module, datamodule=MultiLabelData())
    assert module.explainer.multi_label
    assert json.loads((tmp_path / "explainer" / "explainer.json").read_text())["multi_label"] is True
    images = torch.rand(2, 3, 4, 4)
    explanation = module.explainer.explain(images)
    torch.testing.assert_close(explanation.probabilities(), explanation.logits.sigmoid())
    loaded = load(tmp_path / "explainer", backbone=Colours())
    torch.testing.assert_close(loaded.explain(images).probabilities(), explanation.logits.sigmoid())
    predicting, checkpoint = Module(TwoHeatmaps()), dict[str, Any]()
    module.on_save_checkpoint(checkpoint)
    predicting.on_load_checkpoint(checkpoint)
    assert predicting.explainer.multi_label


def test_a_set_without_classes_says_nothing_of_the_classifier(tmp_path: Path) -> None:
    module = Module(TwoHeatmaps(classes=CLASSES))
    trainer(tmp_path).test(module, datamodule=UnlabelledData(), verbose=False)
    assert not module.explainer.multi_label
