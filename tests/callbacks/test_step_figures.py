"""Figures beside the progress of a run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import step_figures
from callbacks.step_figures import ImageRate, epoch_line, epochs_of, rows, step_line


def test_losses_of_a_step_are_in_a_line() -> None:
    module: Any = SimpleNamespace(
        step_means={"train/loss": torch.tensor(1.5), "train/loss/pull_away": torch.tensor(0.25)}
    )
    assert step_line(module) == "loss 1.5  pull_away 0.25"
    assert step_line(SimpleNamespace()) == ""  # type: ignore[arg-type]


def test_an_epoch_shows_the_loss_first_and_what_has_a_better_side() -> None:
    values = {"train/dead_heads": 1.0, "train/f_cls": 0.5, "train/loss": 2.0, "val/f_reg": 0.25, "val/other": 3.0}
    trainer: Any = SimpleNamespace(callback_metrics={name: torch.tensor(value) for name, value in values.items()})
    assert epoch_line(trainer) == "loss 2  f_cls 0.5  | val f_reg 0.25"


def test_samples_of_batches_are_counted() -> None:
    assert rows({"key": ["a", "b"], "image": torch.zeros(2, 3, 1, 1)}) == 2
    assert rows({"features": torch.zeros(5, 3)}) == 5
    assert rows(torch.zeros(3)) == 0


def test_images_a_second_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(step_figures, "time", SimpleNamespace(monotonic=lambda: now[0]))
    rate = ImageRate(seconds=2.0)
    assert str(rate) == ""
    now[0] = 1.0
    rate.add({"key": ["a"] * 10}, ranks=4)
    assert str(rate) == "40 images/s"
    now[0] = 2.0
    rate.add({"key": ["a"] * 20}, ranks=4)
    assert str(rate) == "60 images/s"


def test_a_fit_in_one_pass_has_one_epoch() -> None:
    trainer: Any = SimpleNamespace(max_epochs=100)
    assert epochs_of(trainer, SimpleNamespace(one_pass=True)) == 1  # type: ignore[arg-type]
    assert epochs_of(trainer, SimpleNamespace()) == 100  # type: ignore[arg-type]
    assert epochs_of(SimpleNamespace(max_epochs=-1), SimpleNamespace()) == 0  # type: ignore[arg-type]
