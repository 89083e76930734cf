"""Masked classification beside a test: its figures, its picture; as a script, the same in two processes."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.masked_classification import MaskedClassification
from callbacks.run_folder import MetricsFile
from tests.helpers.image_data import ImageData
from tests.helpers.ranks import RankPool
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer
from vitrine.metrics.masked_accuracy import MaskedAccuracy

SIZE = 16
PREPROCESSING = Preprocessing(SIZE, None)
GAMMAS = [0.05, 0.4]
PICTURE = Path("masked", "examples.png")


class ThreeClasses(nn.Module):
    """Logits of 16 × 16 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(6 * 36, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


class ColourExplainer(Explainer):
    """A heatmap for each colour; none has anything to say of some of the images."""

    def explain_batch(self, images: Tensor, target: Any) -> Explanation:  # noqa: ARG002 - always the prediction
        heatmaps = images.clamp(min=0) ** 3 * (images[:, 0, 0, 0] > -1.2)[:, None, None, None]
        logits = self.backbone(images).logits
        prediction = logits.argmax(dim=1)
        labels = [["red", "green", ""]] * len(images)
        valid = torch.tensor([[True, True, False]]).repeat(len(images), 1)
        return Explanation(heatmaps, heatmaps.mean(dim=(2, 3)), labels, prediction, prediction, logits, valid)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.explainer: nn.Module | None = ColourExplainer(
            FrozenBackbone(ThreeClasses()), classes=["loon", "tern", "gull"]
        )

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]  # Lightning hands it to the callbacks
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]))
        explainer: Any = self.explainer
        return explainer.explain(batch["image"])


class Data(ImageData):
    """Eleven smooth images, which two ranks cannot share evenly; the backbone is right about some of them."""

    def __init__(self, *, multi_label: bool = False) -> None:
        super().__init__()
        self.classes, self.preprocessing = ["loon", "tern", "gull"], PREPROCESSING
        coarse = torch.rand(11, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        images = PREPROCESSING.finished({"image": F.interpolate(coarse, (SIZE, SIZE), mode="bilinear")})["image"]
        explainer: Any = Module().explainer
        labels = explainer.backbone(images).logits.argmax(dim=1)
        labels[::4] = (labels[::4] + 1) % 3
        if multi_label:
            labels = F.one_hot(labels, 3).float()
        self.samples = [
            {"image": image, "label": label, "key": f"{'ab'[n % 2]}/{(7 * n) % 11}"}
            for n, (image, label) in enumerate(zip(images, labels, strict=True))
        ]

    def test_dataloader(self) -> DataLoader[Any]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(self.samples[rank::world], batch_size=3)  # type: ignore[arg-type]


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    return pl.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(defaults | options))


def figures_of_test(
    folder: Path, *callbacks: pl.Callback, data: Data | None = None, **options: Any
) -> dict[str, float]:
    run = trainer(folder, *callbacks, **options)
    torch.manual_seed(1)
    run.test(Module(), datamodule=data or Data(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}


@pytest.mark.parametrize("inference_mode", [False, True])
@pytest.mark.parametrize("options", [{}, {"fill": "black"}, {"method": "navier_stokes", "radius": 5}])
def test_the_figures_are_those_of_the_plain_metric(
    options: dict[str, Any], inference_mode: bool, tmp_path: Path
) -> None:
    found = figures_of_test(tmp_path, MaskedClassification(GAMMAS, **options), inference_mode=inference_mode)
    explainer: Any = Module().explainer
    metric = MaskedAccuracy(lambda images: explainer.backbone(images).logits, PREPROCESSING, GAMMAS, **options)
    for batch in Data().test_dataloader():
        metric.update(explainer.explain(batch["image"]), batch)
    expected = {f"test/{name}": float(value) for name, value in metric.compute().items()}
    assert {name: value for name, value in found.items() if name != "test/random"} == pytest.approx(expected)
    assert expected["test/masked_accuracy/original"] == pytest.approx(8 / 11)
    assert (
        len(
            {
                expected[f"test/{name}"]
                for name in ("masked_accuracy/original", "masked_accuracy/5", "masked_accuracy/40")
            }
        )
        > 1
    )
    assert 0 < expected["test/masked_accuracy/blank"] < 11


def test_the_picture_has_a_row_an_image_and_two_columns_a_threshold(tmp_path: Path) -> None:
    sizes = {}
    for name, options in {"both": {}, "black": {"fill": "black"}, "many": {"num_examples": 20}}.items():
        figures_of_test(tmp_path / name, MaskedClassification(GAMMAS, **options))  # type: ignore[arg-type]
        with Image.open(tmp_path / name / PICTURE) as picture:
            sizes[name] = picture.size
    cell = 170  # of 160 pixels and a gap of 10
    assert sizes["both"][0] == 5 * cell + 10
    assert sizes["black"][0] == 3 * cell + 10
    assert (sizes["many"][1] - 10) / (sizes["both"][1] - 10) == pytest.approx(11 / 4)


def test_the_picture_shows_what_is_kept_of_the_images(tmp_path: Path) -> None:
    """The middle of each picture, against the functions; images and captions are of the same row."""
    figures_of_test(tmp_path, MaskedClassification([0.4], fill="black", num_examples=11))
    picture = Image.open(tmp_path / PICTURE).convert("RGB")
    height = (picture.height - 10) // 11
    shares = []
    for row in range(11):
        tile = picture.crop((180, 10 + (row + 1) * height - 170, 340, 10 + (row + 1) * height - 10))
        shares.append(float((np.asarray(tile) == 0).all(axis=2).mean()))
    area = figures_of_test(tmp_path, MaskedClassification([0.4], fill="black"))["test/masked_accuracy/kept_area_40"]
    assert 1 - sum(shares) / 11 == pytest.approx(area, abs=0.1)  # the tiles are enlarged, which blurs the edges


def test_no_examples_leave_no_picture(tmp_path: Path) -> None:
    figures_of_test(tmp_path, MaskedClassification(GAMMAS, num_examples=0))
    assert not list(tmp_path.iterdir())


def test_several_classes_an_image(tmp_path: Path) -> None:
    one, several = (
        figures_of_test(tmp_path, MaskedClassification(GAMMAS), data=Data(multi_label=multi)) for multi in (False, True)
    )
    assert one == several


def test_the_module_and_the_random_state_stay_as_they_were(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, MaskedClassification(GAMMAS)), Module()
    explainer: Any = module.explainer
    state = {name: value.clone() for name, value in explainer.backbone.model.state_dict().items()}
    without = figures_of_test(tmp_path)
    torch.manual_seed(1)
    run.test(module, datamodule=Data(), verbose=False)
    assert float(run.callback_metrics["test/random"]) == without["test/random"]
    assert all(torch.equal(value, state[name]) for name, value in explainer.backbone.model.state_dict().items())


def test_a_second_test_begins_anew(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, MaskedClassification(GAMMAS)), Module()
    first, second = (run.test(module, datamodule=Data(), verbose=False)[0] for _ in range(2))
    assert {k: v for k, v in first.items() if "random" not in k} == {
        k: v for k, v in second.items() if "random" not in k
    }


def test_missing_opencv_is_told_before_the_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("a batch was tested")

    monkeypatch.setitem(sys.modules, "cv2", None)
    module = Module()
    with monkeypatch.context() as patched:
        patched.setattr(module, "test_step", refuse)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'vitrine\[inpainting\]'"):
            trainer(tmp_path, MaskedClassification()).test(module, datamodule=Data(), verbose=False)
    found = figures_of_test(tmp_path, MaskedClassification(GAMMAS, fill="black"))  # for which it is not needed
    assert "test/masked_accuracy/5" in found


@pytest.mark.parametrize("explainer", [nn.Linear(2, 2), None])
def test_needs_an_explainer_on_a_backbone(explainer: nn.Module | None, tmp_path: Path) -> None:
    module = Module()
    module.explainer = explainer
    with pytest.raises(ValueError, match="MaskedClassification needs a module with an explainer on a frozen backbone"):
        trainer(tmp_path, MaskedClassification()).test(module, datamodule=Data(), verbose=False)


def test_needs_a_datamodule(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MaskedClassification needs a datamodule"):
        trainer(tmp_path, MaskedClassification()).test(Module(), Data().test_dataloader(), verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_examples": -1}, "^num_examples is -1; give "),
        ({"blur": -1.0}, "^blur is -1.0; give "),
        ({"gammas": [5]}, r"^gammas.* is .*5.*; give "),
        ({"fill": "grey"}, "^fill is 'grey'; give 'inpaint' or 'black'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedClassification(**options)


def test_two_processes_leave_what_one_leaves(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    figures_on_rank(0, one)
    ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert {k: v for k, v in first.items() if "random" not in k} == pytest.approx(
        {k: v for k, v in second.items() if "random" not in k}
    )
    assert (two / PICTURE).read_bytes() == (one / PICTURE).read_bytes()


def figures_on_rank(rank: int, folder: Path, **options: Any) -> None:
    figures_of_test(folder, MaskedClassification(GAMMAS), MetricsFile(), **options)
