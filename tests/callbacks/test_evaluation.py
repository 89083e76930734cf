"""The base of callbacks that look at every batch: which hooks run when, and what is told."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.predictions import PredictionWriter
from callbacks.report import ReportGallery
from callbacks.run_access import Run
from tests.helpers import explaining_fakes as fakes
from tests.helpers.ranks import RankPool
from vitrine.core.batch import Batch


class Recorder(EvaluationCallback[list[str]]):
    """Records its hooks, and writes the keys that it has seen."""

    title: ClassVar[str] = "Keys"

    def __init__(self) -> None:
        super().__init__()
        self.hooks: list[str] = []
        self.keys: list[str] = []

    @override
    def check(self, run: Run) -> None:
        self.hooks.append("check")

    @override
    def begin(self, run: Run) -> None:
        self.hooks.append("begin")

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        assert len(run.explanation(outputs)) == len(batch["key"])
        self.hooks.append("take")
        self.keys += batch["key"]

    @override
    def figures(self, run: Run) -> Mapping[str, float]:
        self.hooks.append("figures")
        return {"recorder/keys": float(len(self.keys))}

    @override
    def share(self, run: Run) -> list[str]:
        self.hooks.append("share")
        keys, self.keys = self.keys, []
        return keys

    @override
    def write(self, run: Run, shares: Sequence[list[str]]) -> Path:
        self.hooks.append("write")
        path = run.folder / "keys.txt"
        path.write_text("\n".join(key for share in shares for key in share), encoding="utf-8")
        return path


class PredictionRecorder(Recorder):
    stage: ClassVar[Literal["test", "predict"]] = "predict"


BATCHES = ["take"] * 5


def test_a_test_runs_all_hooks_in_order_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    trainer = fakes.trainer(tmp_path, recorder)
    for _ in range(2):
        recorder.hooks.clear()
        (figures,) = trainer.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
        assert recorder.hooks == ["check", "begin", *BATCHES, "figures", "share", "write"]
        assert figures["test/recorder/keys"] == fakes.IMAGES
        assert len((tmp_path / "keys.txt").read_text().splitlines()) == fakes.IMAGES
        assert capsys.readouterr().out.splitlines()[-1] == f"Keys: {tmp_path / 'keys.txt'}"


def test_a_prediction_logs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = PredictionRecorder()
    fakes.trainer(tmp_path, recorder).predict(fakes.module(), datamodule=fakes.FakeData(), return_predictions=False)
    assert recorder.hooks == ["check", "begin", *BATCHES, "share", "write"]
    assert capsys.readouterr().out.splitlines()[-1] == f"Keys: {tmp_path / 'keys.txt'}"


def test_other_runs_are_only_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorder, predictions = Recorder(), PredictionRecorder()
    fakes.trainer(tmp_path, recorder).fit(fakes.module(), datamodule=fakes.FakeData())
    fakes.trainer(tmp_path, predictions).test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
    assert recorder.hooks == predictions.hooks == ["check"]
    assert "Keys" not in capsys.readouterr().out


def test_a_run_that_fails_tells_of_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Failing(fakes.FakeModule):
        def test_step(self, batch: Batch) -> None:  # type: ignore[override]
            raise RuntimeError(f"power cut at {batch['key'][0]}")

    recorder = Recorder()
    fakes.trainer(tmp_path, recorder).test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
    capsys.readouterr()
    with pytest.raises(RuntimeError, match="power cut"):
        fakes.trainer(tmp_path, recorder).test(Failing(), datamodule=fakes.FakeData(), verbose=False)
    assert recorder.result is None
    assert "Keys" not in capsys.readouterr().out


def refused_run(rank: int, folder: Path) -> str:
    """The sentence with which a rank refuses to test, and to predict."""
    told = []
    for callback, stage in ((ReportGallery(), "test"), (PredictionWriter(), "predict")):
        run = fakes.trainer(folder, callback, devices=2, strategy="ddp")
        model = fakes.module()
        with pytest.raises(FileExistsError) as refused:
            getattr(run, stage)(model, datamodule=fakes.FakeData())
        told.append(f"{refused.value} {model.explainer.seen}")
    return "\n".join(told)


def test_all_ranks_are_refused_before_the_first_batch(ranks: RankPool, tmp_path: Path) -> None:
    """Though rank zero alone looks at the folder."""
    for name in ("report/index.html", "report/thesis.tex", "predictions/predictions.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    told = ranks.run(refused_run, tmp_path, timeout=60)
    assert told[0] == told[1]
    report, predictions = told[0].splitlines()
    assert f"{tmp_path}/report exists and is not an empty folder" in report
    assert f"{tmp_path}/predictions exists and is not an empty folder" in predictions
    assert (report[-2:], predictions[-2:]) == ("[]", "[]")  # no image was explained
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "index.html",
        "predictions.csv",
        "thesis.tex",
    ]


def test_a_trial_leaves_nothing_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("mine")
    fakes.trainer(tmp_path, ReportGallery(), fast_dev_run=True).test(fakes.module(), datamodule=fakes.FakeData())
    run = fakes.trainer(tmp_path, PredictionWriter(), fast_dev_run=True)
    run.predict(fakes.module(), datamodule=fakes.FakeData(), return_predictions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
