"""Measures of heatmaps beside a test: the plain metrics' figures, in any precision; as a script, in two processes."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any, get_args

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks import measures
from callbacks.measures import MapMeasures, Measure
from callbacks.run_folder import MetricsFile
from tests.helpers.image_data import ImageData
from tests.helpers.ranks import RankPool
from tests.helpers.red_explainer import trainer
from vitrine.attribution import Saliency
from vitrine.attribution.sanity import randomized, sanity_check
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import OptionError
from vitrine.explainers import Explainer
from vitrine.explainers.attribution.explainer import AttributionExplainer, AttributionOptions
from vitrine.metrics import (
    Complexity,
    Infidelity,
    InfidelityOptions,
    MaxSensitivity,
    MaxSensitivityOptions,
    PixelFlipping,
    PixelFlippingOptions,
    RandomizationOptions,
    Road,
    RoadOptions,
    Sparseness,
)

INFIDELITY = InfidelityOptions(num_samples=5, size=3)
SENSITIVITY = MaxSensitivityOptions(num_samples=2, radius=0.1)
ROAD = RoadOptions(shares=(0.2, 0.6))
FLIPPING = PixelFlippingOptions(4, 2, 0.5)
OPTIONS: dict[str, Any] = {
    "measures": get_args(Measure),
    "infidelity": INFIDELITY,
    "max_sensitivity": SENSITIVITY,
    "road": ROAD,
    "pixel_flipping": FLIPPING,
    "parameter_randomization": RandomizationOptions(stages=2, seed=1),
}
FIGURES = {
    "infidelity", "max_sensitivity", "road/morf", "road/lerf", "road/gap", "pixel_flipping/aopc", "pixel_flipping/auc",
    "sparseness", "complexity", "parameter_randomization",
}  # fmt: skip


class GradientExplainer(Explainer):
    """The absolute gradient of the class after the predicted one, times a tenth of the image."""

    def explain_batch(self, images: Tensor, target: Any) -> Explanation:
        logits = self.backbone(images).logits
        prediction = logits.argmax(dim=1)
        target = (prediction + 1) % 3 if target is None else target
        maps = Saliency(self.backbone.model).attribute(images, target).abs().sum(dim=1, keepdim=True)
        maps = maps * (images[:, :1, :1, :1] > -1)  # of some images there is nothing to say
        ones = torch.ones(len(images), 1)
        return Explanation(maps, ones, [["gradient"]] * len(images), prediction, target, logits)


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
        self.explainer: nn.Module = GradientExplainer(FrozenBackbone(network), classes=["loon", "tern", "gull"])

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]  # Lightning hands it to the callbacks
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]))
        explainer: Any = self.explainer
        return explainer.explain(batch["image"])


class Data(ImageData):
    """Seven images, which two ranks cannot share evenly."""

    def samples(self) -> list[dict[str, Any]]:
        images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return [{"image": image, "key": f"image {number}"} for number, image in enumerate(images)]

    def test_dataloader(self) -> DataLoader[Any]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(self.samples()[rank::world], batch_size=3)  # type: ignore[arg-type]

    def panel(self, count: int) -> Batch:
        torch.rand(5)  # the images may be read with random numbers
        return Batch(image=torch.stack([sample["image"] for sample in self.samples()[:count]]))


def figures_of_test(folder: Path, *callbacks: pl.Callback, **options: Any) -> dict[str, float]:
    run, module = trainer(folder, *callbacks, **{"inference_mode": False, **options}), Module()
    torch.manual_seed(1)
    run.test(module, datamodule=Data(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}


@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_figures_are_those_of_the_plain_metrics(inference_mode: bool, tmp_path: Path) -> None:
    found = figures_of_test(tmp_path, MapMeasures(**OPTIONS), inference_mode=inference_mode)
    assert found.pop("test/random") == figures_of_test(tmp_path)["test/random"]  # it draws no random numbers
    explainer: Any = Module().explainer
    model = explainer.backbone.model
    metrics = [
        Infidelity(model, INFIDELITY),
        MaxSensitivity(explainer.explain, SENSITIVITY),
        Road(model, ROAD),
        PixelFlipping(model, FLIPPING),
        Sparseness(),
        Complexity(),
    ]
    for batch in Data().test_dataloader():
        for metric in metrics:
            metric.update(explainer.explain(batch["image"]), batch)
    randomized = found.pop("test/parameter_randomization")
    expected = {f"test/{name}": float(value) for metric in metrics for name, value in metric.compute().items()}
    degenerate = expected["test/complexity/degenerate"]
    assert 0 < degenerate < 7
    assert found.pop("test/parameter_randomization/degenerate") == degenerate
    assert found == pytest.approx(expected, rel=1e-5)
    assert {name for name in FIGURES if f"test/{name}" not in expected} == {"parameter_randomization"}
    assert 0 < randomized < 0.9


def test_parameter_randomization_is_that_of_the_sanity_check(tmp_path: Path) -> None:
    callback = MapMeasures(["parameter_randomization"], parameter_randomization=RandomizationOptions(3, seed=2))
    rows: list[float] = []

    class Reader(pl.Callback):
        def on_test_end(self, *_: Any) -> None:
            rows.extend(callback.metrics[0].row_values["parameter_randomization"].tolist())

    figures_of_test(tmp_path, callback, Reader())
    assert not callback.metrics
    explainer: Any = Module().explainer
    images = Data().samples()[6]["image"][None]  # the last batch
    with torch.inference_mode(mode=False):
        target = explainer.explain(images).target
        maps = Saliency(explainer.backbone.model).attribute(images, target)

        class Absolute(Saliency):
            def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:  # type: ignore[override]
                return super().attribute(inputs, target).abs()

        report = sanity_check(Absolute, explainer.backbone.model, images, target, stages=3, seed=2)
    assert maps.abs().max() > 0
    (row,) = rows
    assert row == pytest.approx(report.similarity)


class SeveralModule(Module):
    """Two explainers on one network, which give the same maps."""

    def __init__(self) -> None:
        super().__init__()
        first: Any = self.explainer
        self.explainers = {"a": first, "b": GradientExplainer(first.backbone, classes=first.classes)}

    def test_step(self, batch: Batch) -> Any:
        return {name: explainer.explain(batch["image"]) for name, explainer in self.explainers.items()}


def test_explainers_of_one_network_share_what_is_drawn_anew_for_one_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[weakref.ref[nn.Module]] = []

    def recorded(*args: Any) -> Any:
        for name, network in randomized(*args):
            drawn.append(weakref.ref(network))
            yield name, network

    monkeypatch.setattr(measures, "randomized", recorded)
    callback = MapMeasures(["parameter_randomization"], parameter_randomization=RandomizationOptions(2, seed=1))
    run, module = trainer(tmp_path, callback), SeveralModule()
    for _ in range(2):
        drawn.clear()
        run.test(module, datamodule=Data(), verbose=False)
        assert len(drawn) == 2
        gc.collect()
        assert [network() for network in drawn] == [None, None]
    figures = {name: float(value) for name, value in run.callback_metrics.items()}
    alone = figures_of_test(tmp_path, MapMeasures(**OPTIONS))["test/parameter_randomization"]
    for name in ("a", "b"):
        assert figures[f"test/{name}/parameter_randomization"] == pytest.approx(alone)


def test_the_centre_of_the_image_depends_on_no_image_and_no_weights(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, MapMeasures(["max_sensitivity", "parameter_randomization"])), Module()
    explainer: Any = module.explainer
    module.explainer = AttributionExplainer(explainer.backbone, AttributionOptions("Center", image_size=8))
    run.test(module, datamodule=Data(), verbose=False)
    figures = {name: float(value) for name, value in run.callback_metrics.items()}
    assert figures["test/max_sensitivity"] == pytest.approx(0, abs=1e-6)
    assert figures["test/parameter_randomization"] == pytest.approx(1)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_the_precision_is_that_of_the_steps(precision: str, tmp_path: Path) -> None:
    other = figures_of_test(tmp_path, MapMeasures(**OPTIONS), precision=precision)
    full = figures_of_test(tmp_path, MapMeasures(**OPTIONS))
    assert set(other) == set(full)
    assert other != full
    for name in ("road/morf", "pixel_flipping/auc", "sparseness", "complexity", "infidelity", "max_sensitivity"):
        assert other[f"test/{name}"] == pytest.approx(full[f"test/{name}"], rel=0.2, abs=0.02)


def test_the_network_stays_as_it_was(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, MapMeasures(**OPTIONS), inference_mode=False), Module()
    explainer: Any = module.explainer
    state = {name: value.clone() for name, value in explainer.backbone.model.state_dict().items()}
    first, second = (run.test(module, datamodule=Data(), verbose=False)[0] for _ in range(2))
    assert {**first, "test/random": 0} == {**second, "test/random": 0}
    assert all(torch.equal(value, state[name]) for name, value in explainer.backbone.model.state_dict().items())


def test_only_what_is_wanted_is_measured(tmp_path: Path) -> None:
    found = figures_of_test(tmp_path, MapMeasures(["complexity"]))
    assert set(found) == {"test/random", "test/complexity", "test/complexity/degenerate"}


class PlainExplainer(nn.Module):
    """An explainer on a backbone that cannot explain a class."""

    def __init__(self, explainer: Any) -> None:
        super().__init__()
        self.backbone, self.options, self.explain = explainer.backbone, explainer.options, explainer.explain


def test_needs_an_explainer_that_can_explain_again(tmp_path: Path) -> None:
    module = Module()
    module.explainer = PlainExplainer(module.explainer)
    trainer(tmp_path, MapMeasures(["sparseness", "road"], road=ROAD)).test(module, datamodule=Data(), verbose=False)
    with pytest.raises(
        ValueError, match="MapMeasures needs an Explainer, which explains images again, got PlainExplainer"
    ):
        trainer(tmp_path, MapMeasures(["max_sensitivity"])).test(module, datamodule=Data(), verbose=False)


@pytest.mark.parametrize("measures", [[], ["road", "road"], ["roads"], "road"])
def test_wrong_measures(measures: Any) -> None:
    with pytest.raises(OptionError, match=r"^measures(\[0\])? is "):
        MapMeasures(measures)


def test_two_processes_measure_what_one_measures(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    figures_on_rank(0, one)
    ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    names = {name for name in first if name != "test/random"}
    assert {f"test/{name}" for name in FIGURES} < names
    assert {name: first[name] for name in names} == pytest.approx({name: second[name] for name in names}, rel=1e-4)


def figures_on_rank(rank: int, folder: Path, **options: Any) -> None:
    figures_of_test(folder, MapMeasures(**OPTIONS), MetricsFile(), **options)
