"""Progress without a terminal: a line for an epoch, not more often than every so many seconds."""

from pathlib import Path

import pytest
from pytorch_lightning.callbacks import RichProgressBar

from callbacks.epoch_lines import EpochLines, with_own_bar
from tests.helpers import explaining_fakes as fakes
from vitrine.core.verbosity import VARIABLE


def lines_of(
    folder: Path, capsys: pytest.CaptureFixture[str], seconds: float, epochs: int = 3, batches: float = 1.0
) -> list[str]:
    lines = EpochLines(seconds)
    trainer = fakes.trainer(folder, lines, max_epochs=epochs, enable_progress_bar=True, limit_train_batches=batches)
    trainer.fit(fakes.module(), datamodule=fakes.FakeData())
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]


def test_each_epoch_has_a_line_with_its_loss_rate_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(tmp_path, capsys, 0.0)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss " in line and "images/s" in line for line in lines)
    assert ["left" in line for line in lines] == [True, True, False]


def test_of_short_epochs_the_first_and_the_last_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(tmp_path, capsys, 3600.0, epochs=6)
    assert [line.split("  ")[0] for line in lines] in (["epoch 6/6"], ["epoch 1/6", "epoch 6/6"])


def test_a_long_test_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.trainer(tmp_path, EpochLines(0.0), enable_progress_bar=True).test(
        fakes.module(), datamodule=fakes.FakeData(), verbose=False
    )
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("test ")]
    assert told[0].startswith("test 1/")
    assert "images/s" in told[-1]


def test_lightnings_own_bar_is_replaced_and_a_given_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "normal")
    own, given = RichProgressBar(), RichProgressBar()
    replaced = with_own_bar([own], [])
    assert isinstance(replaced[0], EpochLines)  # there is no terminal here
    assert with_own_bar([given], [given]) == [given]
    monkeypatch.setenv(VARIABLE, "quiet")
    assert with_own_bar([own], []) == []
