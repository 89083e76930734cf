"""The explainer as a versioned artifact: which figure decides, and which version is the best."""

from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from callbacks.checkpoint import RunCheckpoint
from callbacks.explainer_artifact import best_version, is_best, monitored


def trainer(*callbacks: object) -> Any:
    return SimpleNamespace(checkpoint_callbacks=list(callbacks))


def test_the_checkpoints_monitor_decides_or_the_first_figure_of_the_validation() -> None:
    figures = {"train/loss": 1.0, "val/f_cls": 0.5, "val/f_reg": 2.0, "val/other": 1.0}
    assert monitored(trainer(RunCheckpoint(monitor="val/f_reg")), figures) == ("val/f_reg", True)
    assert monitored(trainer(RunCheckpoint(monitor="val/f_cls", mode="max")), figures) == ("val/f_cls", False)
    assert monitored(trainer(RunCheckpoint()), figures) == ("val/f_cls", False)
    assert monitored(trainer(), {"train/loss": 1.0}) == ("", True)


@pytest.mark.parametrize(
    ("value", "earlier", "smaller", "best"),
    [(1.0, {}, True, True), (1.0, {"m": 2.0}, True, True), (3.0, {"m": 2.0}, True, False), (3.0, {"m": 2.0}, False, True),
     (1.0, {"m": None}, True, True)],
)  # fmt: skip
def test_the_best_is_no_worse_than_any_earlier_one(
    value: float, earlier: dict[str, Any], smaller: bool, best: bool
) -> None:
    assert is_best({"m": value}, earlier, "m", smaller=smaller) is best


def test_without_a_figure_nothing_is_best() -> None:
    assert not is_best({}, {}, "m", smaller=True)


def test_wandb_is_asked_for_the_best_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def artifact(path: str) -> Any:
        if path != "p/a:best":
            raise wandb.errors.CommError("not found")
        return SimpleNamespace(metadata={"m": 1.0})

    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(artifact=artifact))
    assert best_version("p/a:best") == {"m": 1.0}
    assert best_version("p/b:best") == {}
