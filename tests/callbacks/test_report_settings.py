"""Settings at the head of a report."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from callbacks.report_settings import name_of_data, report_settings
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer, SRAEOptions


class BirdDataModule:
    """A datamodule by its name alone."""


def run_of(explainer: Any) -> Any:
    trainer = SimpleNamespace(datamodule=BirdDataModule(), ckpt_path=None)
    return SimpleNamespace(explainer=explainer, module=SimpleNamespace(), trainer=trainer, class_names=["a", "b", "c"])


def made() -> SRAEExplainer:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return SRAEExplainer(FrozenBackbone(model), SRAEOptions("0", explained_classes=[2, 0], image_size=8))


def test_what_is_known_is_told_and_the_rest_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "test", "-c", "a b.yaml"])
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    told = report_settings(run_of(made()), "", "all images")
    assert told["Layer"] == "0"
    assert told["Classes"] == "2: c, a"
    assert told["Explainer"] == "SRAEExplainer"
    assert told["Checkpoint"] == "none: as initialised"
    assert told["Command"] == "python train.py test -c 'a b.yaml'"
    assert not {"Accuracy", "Seed", "Method"} & set(told)


def test_seed_and_accuracy_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    told = report_settings(run_of(made()), "95 %", "all images")
    assert (told["Seed"], told["Accuracy"], told["Shown"]) == ("7", "95 %", "all images")


def test_passwords_in_a_command_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--data.init_args.shards", "https://me:secret@host/set"])
    assert "secret" not in report_settings(run_of(made()), "", "")["Command"]


def test_a_data_set_is_named_without_its_kind() -> None:
    assert name_of_data(run_of(made())) == "Bird"
