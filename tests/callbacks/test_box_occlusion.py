"""Box occlusion beside a test: the plain metric's figures and curve, whatever the batches; the same in two processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks.box_occlusion import BoxOcclusion
from callbacks.run_folder import MetricsFile
from tests.helpers.ranks import RankPool
from tests.helpers.red_explainer import InfiniteModule as Module
from tests.helpers.red_explainer import trainer
from vitrine.metrics import BoxOcclusion as BoxOcclusionMetric
from vitrine.metrics.box_occlusion import box_occlusion

OPTIONS: dict[str, Any] = {"patch_size": 3, "shares": (0.0, 0.1, 0.4), "seed": 4}
WITH_RANDOM: dict[str, Any] = {**OPTIONS, "with_random": True}
NAMES = {f"test/box_occlusion/{name}" for name in ("drop", "last_drop", "area", "degenerate")}


class Data(pl.LightningDataModule):
    """Seven images, which two ranks cannot share evenly."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-2.5, 2.5)
        self.images[4, 0, 2, 2] = 3.0

    def test_dataloader(self) -> DataLoader[Any]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        samples: Any = [{"image": image, "key": str(number)} for number, image in enumerate(self.images)]
        return DataLoader(samples[rank::world], batch_size=self.batch_size)


def figures_of_test(
    folder: Path, *callbacks: pl.Callback, data: Data | None = None, **options: Any
) -> dict[str, float]:
    run, module = trainer(folder, *callbacks, **options), Module()
    torch.manual_seed(1)
    run.test(module, datamodule=data or Data(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}


def test_figures_and_curve_are_those_of_the_plain_metric_in_any_batches(tmp_path: Path) -> None:
    callback = BoxOcclusion(**OPTIONS)
    found = figures_of_test(tmp_path, callback, data=Data(batch_size=2))
    assert found.pop("test/random") == figures_of_test(tmp_path, data=Data(batch_size=2))["test/random"]
    explainer: Any = Module().explainer
    images, metric = Data().images, BoxOcclusionMetric(OPTIONS["shares"])
    explanation = explainer.explain(images)
    maps, keys = explanation.aggregate()[:, 0], [str(number) for number in range(7)]
    confidence = box_occlusion(explainer.backbone.model, images, maps, explanation.target, keys=keys, **OPTIONS)
    metric.update(confidence)
    mean = confidence[torch.arange(7) != 4].double().mean(dim=0)
    area = float(((mean[0] + mean[1]) / 2 * 0.1 + (mean[1] + mean[2]) / 2 * 0.3) / 0.4)
    expected = {f"test/{name}": float(value) for name, value in metric.compute().items()}
    assert found == pytest.approx({**expected, "test/box_occlusion/area": area}, abs=1e-6)
    assert set(found) == NAMES
    assert found["test/box_occlusion/degenerate"] == 1
    assert abs(found["test/box_occlusion/drop"]) > 0.001
    curve = callback.curves["box_occlusion"]
    assert list(curve.x) == [0.0, 0.1, 0.4]
    assert list(curve.y) == pytest.approx(mean.tolist(), abs=1e-6)


def test_random_places_are_those_of_a_constant_map(tmp_path: Path) -> None:
    callback = BoxOcclusion(**WITH_RANDOM)
    found = figures_of_test(tmp_path, callback)
    explainer: Any = Module().explainer
    explanation, keys = explainer.explain(Data().images), [str(number) for number in range(7)]
    confidence = box_occlusion(
        explainer.backbone.model, Data().images, torch.ones(7, 8, 8), explanation.target, keys=keys, **OPTIONS
    )
    mean = confidence.double().mean(dim=0)
    assert found["test/box_occlusion/random_drop"] == pytest.approx(float(mean[0] - mean[1:].mean()), abs=1e-6)
    assert callback.curves["box_occlusion/random"].y == pytest.approx(mean.tolist(), abs=1e-6)
    assert callback.curves["box_occlusion"].y != pytest.approx(mean.tolist(), abs=1e-6)


def test_the_seed_draws_other_patches_and_the_network_stays(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, BoxOcclusion(**OPTIONS)), Module()
    explainer: Any = module.explainer
    state = {name: value.clone() for name, value in explainer.backbone.model.state_dict().items()}
    first, second = (run.test(module, datamodule=Data(), verbose=False)[0] for _ in range(2))
    assert {name: first[name] for name in NAMES} == {name: second[name] for name in NAMES}
    assert all(torch.equal(value, state[name]) for name, value in explainer.backbone.model.state_dict().items())
    other = figures_of_test(tmp_path, BoxOcclusion(**{**OPTIONS, "seed": 5}))
    assert other["test/box_occlusion/drop"] != first["test/box_occlusion/drop"]


def test_needs_an_explainer_on_a_backbone(tmp_path: Path) -> None:
    module = Module()
    module.explainer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="BoxOcclusion needs a module with an explainer on a frozen backbone"):
        trainer(tmp_path, BoxOcclusion()).test(module, datamodule=Data(), verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 0}, r"^patch_size is 0; give "),
        ({"shares": (0.1, 0.2)}, r"^shares is \(0\.1, 0\.2\); give .* the first is 0"),
        ({"shares": (0, 0.2, 0.1)}, r"^shares is \(0, 0\.2, 0\.1\); give .* rising order"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoxOcclusion(**options)


def test_two_processes_measure_what_one_measures(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    curve = figures_on_rank(0, one)
    curves = ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    assert [pytest.approx(found) for found in curves] == [curve, curve]
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert {name: first[name] for name in NAMES} == pytest.approx({name: second[name] for name in NAMES})


def figures_on_rank(rank: int, folder: Path, **options: Any) -> list[float]:
    callback = BoxOcclusion(**WITH_RANDOM)
    figures_of_test(folder, callback, MetricsFile(), **options)
    return [y for curve in callback.curves.values() for y in curve.y]
