"""Several explainers of one network in one test: each measured as it would be alone."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch import Tensor

from callbacks.comparison import ComparisonTable
from callbacks.image_figures import ImageFigures
from callbacks.insertion_deletion import InsertionAndDeletion
from callbacks.predictions import PredictionWriter
from callbacks.run_folder import MetricsFile
from lightning_modules import AttributionModule, ComparisonModule, several
from lightning_modules.comparison import ComparedExplainer
from tests.helpers.ranks import RankPool
from tests.lightning_modules.test_attribution import FLOWER_NET, QUIET, flowers, outcome
from vitrine.attribution import Method
from vitrine.attribution.together import attribute_together
from vitrine.backbones import FrozenBackbone
from vitrine.core.options import OptionError
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SRAE with heads as they are drawn, for four of the six classes."""
    pl.seed_everything(0, verbose=False)
    options = SRAEOptions("features", image_size=64, num_features=2, hidden=(8,), explained_classes=[0, 2, 3, 5])
    explainer = SRAEExplainer(FrozenBackbone.from_options(FLOWER_NET), options)
    folder = tmp_path_factory.mktemp("exported") / "explainer"
    explainer.save(folder)
    return folder


def compared(exported: Path, **options: Any) -> ComparisonModule:
    entries = {
        "SRAE": ComparedExplainer(folder=str(exported)),
        "Grad-CAM": ComparedExplainer("GradCAM"),
        "Saliency": ComparedExplainer("Saliency", sigma=1.0),
    }
    return ComparisonModule(FLOWER_NET, entries, **options)


def run(folder: Path, shards: Path, module: ComparisonModule, *others: pl.Callback, **options: Any) -> dict[str, float]:
    callbacks = [*others, MetricsFile(), ImageFigures(), ComparisonTable()]
    trainer = pl.Trainer(default_root_dir=folder, callbacks=callbacks, **{**QUIET, **options})
    trainer.test(module, datamodule=flowers(shards), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def ranked(rank: int, folder: Path, shards: Path, exported: Path) -> dict[str, float]:
    return run(folder, shards, compared(exported, explain="label"), devices=2, strategy="ddp")


def table_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "compare.csv").open(encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_each_is_measured_as_it_would_be_alone(exported: Path, flower_shards: Path, tmp_path: Path) -> None:
    together = run(tmp_path / "all", flower_shards, compared(exported, explain="both"))
    for name, options in (("Grad-CAM", AttributionOptions()), ("Saliency", AttributionOptions("Saliency", sigma=1.0))):
        alone = outcome(tmp_path / name, flower_shards, AttributionModule(FLOWER_NET, options, explain="both"))
        own = {key.removeprefix(f"test/{name}/"): value for key, value in together.items() if f"/{name}/" in key}
        assert own.keys() == {key.removeprefix("test/") for key in alone}
        for key, value in own.items():
            assert value == pytest.approx(alone[f"test/{key}"], rel=1e-6, nan_ok=True), key
        for file in ("per_image.csv", "metrics.json"):
            assert (tmp_path / "all" / "explainers" / name / file).read_text() == (tmp_path / name / file).read_text()


def test_the_table_has_a_row_a_method(exported: Path, flower_shards: Path, tmp_path: Path) -> None:
    found = run(tmp_path, flower_shards, compared(exported, explain="label"), InsertionAndDeletion(steps=2))
    table = table_of(tmp_path)
    assert list(table) == ["SRAE", "Grad-CAM", "Saliency"]
    for name, row in table.items():
        for figure in ("iou", "energy_in_mask", "insertion_deletion/deletion_auc"):
            assert float(row[figure]) == pytest.approx(found[f"test/{name}/{figure}"], rel=1e-6)
    assert {"compare.md", "compare.html"} <= {path.name for path in tmp_path.iterdir()}
    names = json.loads((tmp_path / "explainers" / "SRAE" / "evaluation.json").read_text())
    assert (names["name"], names["explain"], names["explainer"]) == ("SRAE", "label", "SRAEExplainer")


def test_the_network_sees_each_image_once_for_the_logits(
    exported: Path, flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = compared(exported)
    asked: list[int] = []
    logits_of = module.logits_of

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return logits_of(images)

    monkeypatch.setattr(module, "logits_of", counted)
    for explainer in list(module.explainers.values())[1:]:
        monkeypatch.setattr(explainer, "logits", None)
    run(tmp_path, flower_shards, module)
    data = flowers(flower_shards)
    data.setup("test")
    assert sum(asked) == data.num_samples("test")


def test_maps_that_are_read_in_several_ways_are_drawn_once(
    flower_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the same method with the same arguments; each is measured as it would be alone."""
    entries = {
        "plain": ComparedExplainer("Saliency"),
        "summed": ComparedExplainer("Saliency", reduction="sum", sigma=1.0),
        "other": ComparedExplainer("LayerCAM", {"alignment": "image"}),
        "layer": ComparedExplainer("LayerCAM"),
    }
    module = ComparisonModule(FLOWER_NET, entries, explain="label")
    drawn: Counter[Method] = Counter()

    def counted(methods: Mapping[str, Method], images: Tensor, target: Tensor) -> dict[str, Tensor]:
        drawn.update(dict.fromkeys(methods.values(), len(images)))
        return attribute_together(methods, images, target)

    monkeypatch.setattr(several, "attribute_together", counted)
    together = run(tmp_path / "all", flower_shards, module)
    data = flowers(flower_shards)
    data.setup("test")
    expected = {"plain": data.num_samples("test"), "summed": 0} | dict.fromkeys(
        ("other", "layer"), data.num_samples("test")
    )
    methods = {name: one.method for name, one in module.explainers.items() if isinstance(one, AttributionExplainer)}
    assert {name: drawn[method] for name, method in methods.items()} == expected
    only = ComparisonModule(FLOWER_NET, {"summed": entries["summed"]}, explain="label")
    for name, value in run(tmp_path / "one", flower_shards, only).items():
        assert together[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


def test_two_ranks_measure_what_one_does(exported: Path, flower_shards: Path, tmp_path: Path, ranks: RankPool) -> None:
    alone = run(tmp_path / "one", flower_shards, compared(exported, explain="label"))
    for of_rank in ranks.run(ranked, tmp_path / "two", flower_shards, exported):
        for name, value in alone.items():
            assert of_rank[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    assert table_of(tmp_path / "two").keys() == table_of(tmp_path / "one").keys()


def test_a_part_of_the_set_is_not_compared(exported: Path, flower_shards: Path, tmp_path: Path) -> None:
    run(tmp_path, flower_shards, compared(exported), limit_test_batches=1)
    assert not list(tmp_path.rglob("compare.*"))
    assert not list(tmp_path.rglob("per_image.csv"))


def test_a_prediction_has_a_folder_an_explainer(
    exported: Path, flower_shards: Path, class_folder: Path, tmp_path: Path
) -> None:
    trainer = pl.Trainer(default_root_dir=tmp_path, callbacks=[PredictionWriter()], **QUIET)
    data = flowers(flower_shards, predict_root=class_folder / "test")
    trainer.predict(compared(exported), datamodule=data, return_predictions=False)
    for name in ("SRAE", "Grad-CAM", "Saliency"):
        assert len((tmp_path / "explainers" / name / "predictions" / "predictions.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        ({}, "explainers is '{}'"),
        ({"a/b": ComparedExplainer("GradCAM")}, "explainers is 'a/b'"),
        ({"a": ComparedExplainer()}, r"explainers\.a\.method is null"),
        ({"a": ComparedExplainer("GradCAM", folder="x")}, r"explainers\.a\.method is 'GradCAM'"),
        ({"a": ComparedExplainer("GradCMA")}, r"explainers\.a\.method is 'GradCMA'; give .*GradCAM"),
    ],
)
def test_what_makes_no_sense_is_refused(entries: dict[str, ComparedExplainer], key: str) -> None:
    with pytest.raises(OptionError, match=key):
        ComparisonModule(FLOWER_NET, entries)


def test_an_explainer_of_another_network_is_refused(exported: Path) -> None:
    other = type(FLOWER_NET)(FLOWER_NET.name)
    with pytest.raises(ValueError, match="weights"):
        ComparisonModule(other, {"SRAE": ComparedExplainer(folder=str(exported))})
