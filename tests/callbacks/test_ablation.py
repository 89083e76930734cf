"""The ablation beside a test: its figures, its files; as a script, the same in two processes."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.ablation import FilterAblation
from callbacks.run_folder import MetricsFile
from tests.helpers.ranks import RankPool
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.metrics.ablation import accuracies_without, random_filters

FILTERS = [("features.1", 3), ("features.3", 5), ("features.1", 0), ("features.1", 3), ("features.3", 1)]
WIDTHS = {"features.1": 6, "features.3": 8}


class ThreeClasses(nn.Module):
    """Logits of 12 × 12 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.classifier = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


class Explainer(nn.Module):
    def __init__(self, filters: Sequence[tuple[str, int]] = FILTERS) -> None:
        super().__init__()
        self.backbone = FrozenBackbone(ThreeClasses())
        self.responses = SimpleNamespace(layers=[SimpleNamespace(name=k, width=width) for k, width in WIDTHS.items()])
        self.filters = list(filters)

    def relevant_filters(self) -> list[tuple[str, int]]:
        return self.filters


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(48)  # without filters these weights are worse, or better, to different degrees
        self.explainer: nn.Module = Explainer()

    def test_step(self, batch: Batch) -> None:
        self.log("test/random", torch.rand(()), batch_size=len(batch["image"]))


class Data(pl.LightningDataModule):
    """Eleven images, which two ranks cannot share evenly."""

    def __init__(self, *, multi_label: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        images, labels = torch.randn(11, 3, 12, 12, generator=generator), torch.arange(11) % 3
        labels[labels == 2] = torch.tensor([2, 1, 1])
        if multi_label:
            labels = F.one_hot(labels, 3).float()
        self.samples = [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]

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


def figures_of_test(folder: Path, *callbacks: pl.Callback, **options: Any) -> dict[str, float]:
    run, module = trainer(folder, *callbacks, **options), Module()
    torch.manual_seed(1)
    run.test(module, datamodule=Data(), verbose=False)
    return {name: float(value) for name, value in run.callback_metrics.items()}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "ablation.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("inference_mode", [False, True])
def test_the_figures_are_those_of_the_plain_functions(inference_mode: bool, tmp_path: Path) -> None:
    found = figures_of_test(tmp_path, FilterAblation(num_draws=2, seed=5), inference_mode=inference_mode)
    generator = torch.Generator().manual_seed(5)
    draws = [random_filters(FILTERS, WIDTHS, generator) for _ in range(2)]
    model = Module().explainer.get_submodule("backbone").model
    assert isinstance(model, nn.Module)
    original, selected, *random = accuracies_without(model, Data().test_dataloader(), [[], FILTERS, *draws]).tolist()
    assert found["test/ablation/original"] == pytest.approx(original)
    assert found["test/ablation/selected"] == pytest.approx(selected)
    assert found["test/ablation/random"] == pytest.approx(sum(random) / 2)
    assert found["test/ablation/filters"] == 4
    rows = table(tmp_path)
    names = ["original", "selected", "random", "random"]
    assert [(row["set"], row["draw"], row["filters"]) for row in rows] == list(zip(names, "0012", "0444", strict=True))
    accuracies = [float(row["mean_class_accuracy"]) for row in rows]
    assert accuracies == pytest.approx([original, selected, *random])
    assert len({original, selected, *random}) == 3  # else a mix-up would not have been seen


def test_the_curve_ablates_the_most_relevant_filters_first(tmp_path: Path) -> None:
    """Half of four filters are two; figures are those of all four."""
    callback = FilterAblation(num_draws=2, seed=5, shares=(0.25, 0.5))
    found = figures_of_test(tmp_path, callback)
    generator = torch.Generator().manual_seed(5)
    ranked = [list(dict.fromkeys(FILTERS)), *(random_filters(FILTERS, WIDTHS, generator) for _ in range(2))]
    model = Module().explainer.get_submodule("backbone").model
    assert isinstance(model, nn.Module)
    sets = [filters[:count] for filters in ranked for count in (0, 1, 2, 4)]
    selected, *draws = accuracies_without(model, Data().test_dataloader(), sets).reshape(3, 4)
    assert [row["filters"] for row in table(tmp_path)] == ["0", *["1", "2", "4"] * 3]
    curves = callback.curves
    assert curves["ablation/selected"].x == curves["ablation/random"].x == [0, 1, 2, 4]
    assert curves["ablation/selected"].y == pytest.approx(selected.tolist())
    assert curves["ablation/random"].y == pytest.approx(torch.stack(draws).mean(dim=0).tolist())
    assert found["test/ablation/selected"] == pytest.approx(float(selected[-1]))
    assert found["test/ablation/random"] == pytest.approx(float(torch.stack(draws)[:, -1].mean()))
    assert len(set(selected.tolist())) > 2  # else a mix-up would not have been seen


def test_figures_stand_in_the_runs_metrics(tmp_path: Path) -> None:
    figures_of_test(tmp_path, FilterAblation(), MetricsFile())
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert {name for name in figures if name.startswith("test/ablation")} == {
        f"test/ablation/{name}" for name in ("original", "selected", "random", "filters")
    }


def test_the_module_and_the_random_state_stay_as_they_were(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, FilterAblation()), Module()
    backbone: Any = module.explainer.get_submodule("backbone")
    state = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    without = figures_of_test(tmp_path)
    torch.manual_seed(1)
    run.test(module, datamodule=Data(), verbose=False)
    assert float(run.callback_metrics["test/random"]) == without["test/random"]
    assert all(torch.equal(value, state[name]) for name, value in backbone.model.state_dict().items())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in backbone.model.modules())


def test_a_second_test_begins_anew(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, FilterAblation()), Module()
    first, second = (run.test(module, datamodule=Data(), verbose=False) for _ in range(2))
    assert {k: v for k, v in first[0].items() if "ablation" in k} == {
        k: v for k, v in second[0].items() if "ablation" in k
    }
    assert [path.name for path in tmp_path.iterdir()] == ["ablation.csv"]


def test_without_relevant_filters_nothing_is_lost(tmp_path: Path) -> None:
    run, module = trainer(tmp_path, FilterAblation()), Module()
    module.explainer = Explainer(filters=())
    (found,) = run.test(module, datamodule=Data(), verbose=False)
    assert found["test/ablation/original"] == found["test/ablation/selected"] == found["test/ablation/random"]
    assert found["test/ablation/filters"] == 0


def test_a_wandb_logger_gets_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    experiment = SimpleNamespace(log=sent.append)
    monkeypatch.setattr(WandbLogger, "experiment", experiment)
    for name in ("log_hyperparams", "log_metrics", "log_graph", "save"):
        monkeypatch.setattr(WandbLogger, name, lambda _self, *_args, **_kwargs: None)
    figures_of_test(tmp_path, FilterAblation(num_draws=1), logger=WandbLogger(save_dir=tmp_path, offline=True))
    (tables,) = sent
    logged = tables["ablation"]
    assert logged.columns == ["set", "draw", "filters", "mean_class_accuracy"]
    assert [row[:3] for row in logged.data] == [["original", 0, 0], ["selected", 0, 4], ["random", 1, 4]]
    assert [f"{row[3]:.9g}" for row in logged.data] == [row["mean_class_accuracy"] for row in table(tmp_path)]


@pytest.mark.parametrize("explainer", [nn.Linear(2, 2), None])
def test_needs_an_explainer_with_relevant_filters(explainer: nn.Module | None, tmp_path: Path) -> None:
    module = Module()
    module.explainer = explainer  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"FilterAblation needs a module whose explainer has relevant filters.*Module"):
        trainer(tmp_path, FilterAblation()).test(module, datamodule=Data(), verbose=False)


def test_several_classes_an_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Mean class accuracy needs one class an image"):
        trainer(tmp_path, FilterAblation()).test(Module(), datamodule=Data(multi_label=True), verbose=False)


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"^num_draws is 0; give "):
        FilterAblation(num_draws=0)
    with pytest.raises(ValueError, match=r"^shares\[0\] is 1\.5; give a number from 0 to 1"):
        FilterAblation(shares=(1.5,))


def test_two_processes_leave_what_one_leaves(ranks: RankPool, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    figures_on_rank(0, one)
    ranks.run(figures_on_rank, two, devices=2, strategy="ddp")
    assert (two / "ablation.csv").read_text() == (one / "ablation.csv").read_text()
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, two))
    assert {k: v for k, v in first.items() if "ablation" in k} == {k: v for k, v in second.items() if "ablation" in k}


def figures_on_rank(rank: int, folder: Path, **options: Any) -> None:
    figures_of_test(folder, FilterAblation(num_draws=2, seed=1), MetricsFile(), **options)
