"""Causal truth beside a test: the plain metric's figures; as a script, the same in two processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from callbacks.causal_truth import CausalTruth
from callbacks.run_folder import MetricsFile
from datamodules.samples import collate
from tests.helpers.image_data import ImageData
from tests.helpers.ranks import RankPool
from tests.helpers.red_explainer import Module, trainer
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics import CausalTruth as CausalTruthMetric

SIZE, PARTS = 8, 4
NAMES = {f"test/causal_truth{name}" for name in ("", "/mass", "/degenerate", "/skipped")}


class Data(ImageData):
    """Seven images, which two ranks cannot share evenly, with each of four parts blacked out."""

    preprocessing, classes = Preprocessing(SIZE, SIZE), ("loon", "tern", "gull")

    def __init__(self, *annotations: str) -> None:
        super().__init__()
        self.annotations = frozenset(annotations)

    def test_dataloader(self) -> DataLoader[Any]:
        images = torch.randn(7, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        objects = torch.randint(0, PARTS + 1, (7, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(1))
        without = torch.stack([images * (objects != part + 1) for part in range(PARTS)], dim=1)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        samples = [
            {"image": image, "objects": parts, "counterfactuals": others}
            for image, parts, others in zip(images, objects, without, strict=True)
        ]
        return DataLoader(samples[rank::world], batch_size=3, collate_fn=collate)  # type: ignore[arg-type]


def run_test(folder: Path, *callbacks: pl.Callback, module: Module | None = None, **options: Any) -> dict[str, float]:
    run = trainer(folder, *callbacks, **options)
    run.test(module or Module(), datamodule=Data("objects", "counterfactuals"), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items() if name != "test/random"}


@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "threshold": 0.9}])
def test_the_figures_are_those_of_the_plain_metric(options: dict[str, Any], tmp_path: Path) -> None:
    found = run_test(tmp_path, CausalTruth(**options))
    explainer: Any = Module().explainer
    metric = CausalTruthMetric(explainer.backbone.model, **options)
    for batch in Data().test_dataloader():
        metric.update(explainer.explain(batch["image"]), batch)
    assert found == pytest.approx({f"test/{name}": float(value) for name, value in metric.compute().items()})
    assert set(found) == NAMES
    assert 0 < found["test/causal_truth/degenerate"] < 7


@pytest.mark.parametrize("lacking", [{"objects"}, {"counterfactuals"}])
def test_a_set_without_counterfactuals_is_refused_before_the_run(lacking: set[str], tmp_path: Path) -> None:
    data = Data(*({"objects", "counterfactuals"} - lacking))
    with pytest.raises(ValueError, match=rf"CausalTruth needs .*{next(iter(lacking))}; .*--without-parts"):
        trainer(tmp_path, CausalTruth()).test(Module(), datamodule=data, verbose=False)


def test_needs_an_explainer_on_a_backbone(tmp_path: Path) -> None:
    module = Module()
    module.explainer = None
    with pytest.raises(ValueError, match="CausalTruth needs a module with an explainer on a frozen backbone"):
        run_test(tmp_path, CausalTruth(), module=module)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"^reduction is 'max'; give "):
        CausalTruth(reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^threshold is 2\.0; give "):
        CausalTruth(threshold=2.0)


def test_two_processes_measure_what_one_measures(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    figures_on_rank(0, one)
    ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert {name: first[name] for name in NAMES} == pytest.approx({name: second[name] for name in NAMES})


def figures_on_rank(rank: int, folder: Path, **options: Any) -> None:
    run_test(folder, CausalTruth(), MetricsFile(), **options)
