"""RunIndex: every run ends with a page of its results and the line that says where it is."""

from pathlib import Path

import pytest

from callbacks.report import ReportGallery
from callbacks.run_index import RunIndex
from tests.helpers import explaining_fakes as fakes


def test_a_test_ends_with_the_index_of_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fakes.trainer(tmp_path, ReportGallery(), RunIndex())
    run.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
    assert capsys.readouterr().out.strip().splitlines()[-1] == f"Results: {tmp_path / 'index.html'}"
    assert 'href="report/index.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_so_does_a_fit_but_no_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.trainer(tmp_path, RunIndex(), fast_dev_run=True).fit(fakes.module(), datamodule=fakes.FakeData())
    assert "Results" not in capsys.readouterr().out
    assert not (tmp_path / "index.html").exists()
    fakes.trainer(tmp_path, RunIndex(), max_epochs=1).fit(fakes.module(), datamodule=fakes.FakeData())
    assert f"Results: {tmp_path / 'index.html'}" in capsys.readouterr().out


def test_a_damaged_file_of_an_earlier_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.warns(UserWarning, match=r"No index of .* is written: .*evaluation\.json is damaged"):
        fakes.trainer(tmp_path, RunIndex(), max_epochs=1).fit(fakes.module(), datamodule=fakes.FakeData())
    assert "Results" not in capsys.readouterr().out
