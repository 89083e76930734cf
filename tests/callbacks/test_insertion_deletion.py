"""Insertion and deletion beside a test: the plain metric's figures; as a script, the same in two processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks.insertion_deletion import InsertionAndDeletion
from callbacks.run_folder import MetricsFile
from tests.helpers.ranks import RankPool
from tests.helpers.red_explainer import Module, trainer
from vitrine.metrics import InsertionDeletion

OPTIONS: dict[str, Any] = {"steps": 5, "blur": 2.0}
NAMES = {
    "test/insertion_deletion/insertion_auc",
    "test/insertion_deletion/deletion_auc",
    "test/insertion_deletion/degenerate",
}


class Data(pl.LightningDataModule):
    """Seven images, which two ranks cannot share evenly."""

    def test_dataloader(self) -> DataLoader[Any]:
        images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader([{"image": image} for image in images[rank::world]], batch_size=3)  # type: ignore[arg-type]


def figures_of_test(folder: Path, *callbacks: pl.Callback, **options: Any) -> dict[str, float]:
    run, module = trainer(folder, *callbacks, **options), Module()
    torch.manual_seed(1)
    run.test(module, datamodule=Data(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}


@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_figures_are_those_of_the_plain_metric(inference_mode: bool, tmp_path: Path) -> None:
    found = figures_of_test(tmp_path, InsertionAndDeletion(**OPTIONS), inference_mode=inference_mode)
    without = figures_of_test(tmp_path)
    assert found.pop("test/random") == without["test/random"]  # it draws no random numbers
    explainer: Any = Module().explainer
    metric = InsertionDeletion(explainer.backbone.model, **OPTIONS)
    for batch in Data().test_dataloader():
        metric.update(explainer.explain(batch["image"]), batch)
    assert found == pytest.approx({f"test/{name}": float(value) for name, value in metric.compute().items()})
    assert set(found) == NAMES
    assert 0 < found["test/insertion_deletion/degenerate"] < 7


def test_bfloat16_is_that_of_the_steps(tmp_path: Path) -> None:
    half = figures_of_test(tmp_path, InsertionAndDeletion(**OPTIONS), precision="bf16-mixed")
    full = figures_of_test(tmp_path, InsertionAndDeletion(**OPTIONS))
    assert half["test/insertion_deletion/deletion_auc"] != full["test/insertion_deletion/deletion_auc"]
    assert half["test/insertion_deletion/deletion_auc"] == pytest.approx(
        full["test/insertion_deletion/deletion_auc"], abs=0.01
    )


def test_the_network_stays_as_it_was_and_a_second_test_begins_anew(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, InsertionAndDeletion(**OPTIONS)), Module()
    explainer: Any = module.explainer
    state = {name: value.clone() for name, value in explainer.backbone.model.state_dict().items()}
    first, second = (run.test(module, datamodule=Data(), verbose=False)[0] for _ in range(2))
    assert {name: first[name] for name in NAMES} == {name: second[name] for name in NAMES}
    assert all(torch.equal(value, state[name]) for name, value in explainer.backbone.model.state_dict().items())


@pytest.mark.parametrize("explainer", [nn.Linear(2, 2), None])
def test_needs_an_explainer_on_a_backbone(explainer: nn.Module | None, tmp_path: Path) -> None:
    module = Module()
    module.explainer = explainer
    with pytest.raises(ValueError, match="InsertionAndDeletion needs a module with an explainer on a frozen backbone"):
        trainer(tmp_path, InsertionAndDeletion()).test(module, datamodule=Data(), verbose=False)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"^steps is 0; give "):
        InsertionAndDeletion(steps=0)
    with pytest.raises(ValueError, match=r"^blur is -1\.0; give "):
        InsertionAndDeletion(blur=-1.0)


def test_two_processes_measure_what_one_measures(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    figures_on_rank(0, one)
    ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert {name: first[name] for name in NAMES} == pytest.approx({name: second[name] for name in NAMES})


def figures_on_rank(rank: int, folder: Path, **options: Any) -> None:
    figures_of_test(folder, InsertionAndDeletion(**OPTIONS), MetricsFile(), **options)
