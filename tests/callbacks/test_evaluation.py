"""The base of callbacks that look at every batch: which hooks run when, and what is told."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.run_access import Run
from tests.helpers import explaining_fakes as fakes
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
