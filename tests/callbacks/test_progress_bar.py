"""The bar in a terminal: a total, images a second, and losses."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from typing_extensions import override

from callbacks import progress_bar
from callbacks.progress_bar import RunProgressBar
from tests.helpers import explaining_fakes as fakes


class Seen(RunProgressBar):
    """Keeps what its tasks show after each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[str, float, float | None, str, str]] = []

    @override
    def _show(self, task: Any, batch: object) -> None:
        super()._show(task, batch)
        if self.progress is not None and task is not None:
            of = self.progress.tasks[task]
            self.shown.append((of.description, of.completed, of.total, of.fields["rate"], of.fields["figures"]))


class Losing(fakes.FakeModule):
    """Has the losses of a step, as a module with `log_means` keeps them."""

    step_means: ClassVar = {"train/loss": torch.tensor(0.5)}


def test_a_fit_shows_its_total_its_rate_and_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "SECONDS", -1.0)
    bar = Seen()
    monkeypatch.setenv("COLUMNS", "120")
    fakes.trainer(tmp_path, bar, max_epochs=2, enable_progress_bar=True).fit(Losing(), datamodule=fakes.FakeData())
    first, *_, last = bar.shown
    assert first[0] == "epoch 1/2"
    assert last[0] == "epoch 2/2"
    assert last[1] == last[2]
    assert last[2] is not None
    assert first[3].endswith(" images/s")
    assert {"loss 0.5"} <= {figures for *_, figures in bar.shown}
    assert last[4].startswith("loss ")


def test_a_test_shows_its_rate_and_no_losses(tmp_path: Path) -> None:
    bar = Seen()
    fakes.trainer(tmp_path, bar, enable_progress_bar=True).test(
        fakes.module(), datamodule=fakes.FakeData(), verbose=False
    )
    assert bar.shown[-1][1] == bar.shown[-1][2]
    assert bar.shown[-1][3].endswith(" images/s")
    assert bar.shown[-1][4] == ""


@pytest.mark.parametrize("width", [80, 120])
def test_what_there_is_room_for_is_drawn_in_a_line(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar, "SECONDS", -1.0)
    monkeypatch.setattr(
        progress_bar, "epoch_line", lambda _: "loss 0.25  f_cls 0.5  | val f_cls 0.75  f_reg 1.25  f_x 9"
    )
    monkeypatch.setenv("COLUMNS", str(width))
    bar = RunProgressBar()
    fakes.trainer(tmp_path, bar, max_epochs=1, enable_progress_bar=True).fit(Losing(), datamodule=fakes.FakeData())
    line = capsys.readouterr().out.splitlines()[-1].rstrip()
    assert len(line) <= width
    assert "5/5" in line
    assert "images/s" in line
    assert "━━━━━━━━━━━━━━" in line
    assert "loss 0.25" in line
    assert ("f_x 9" in line) == (width > 80)
