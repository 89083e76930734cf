"""``vitrine export``: a file from a saved explainer, or one sentence."""

from pathlib import Path

import pytest

from tests.helpers.exported_networks import by_method
from vitrine.export.cli import main


def test_wrong_lines_and_folders_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, says in (([], "required: explainer"), ([str(tmp_path / "none")], str(tmp_path / "none"))):
        assert main(line) == 2
        told = capsys.readouterr().err
        assert says in told
        assert "Traceback" not in told


def test_what_cannot_be_exported_is_told_and_no_file_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    made = by_method("LRP")
    monkeypatch.setattr("vitrine.explainers.load", lambda *_args, **_options: made)
    assert main([str(tmp_path), "--out", str(tmp_path / "m.onnx")]) == 2
    assert "LRP needs backward passes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([str(tmp_path), "--out", str(tmp_path / "m.onnx"), "--logits"]) == 0
    assert "images to logits; differs by" in capsys.readouterr().out
    assert (tmp_path / "m.onnx").stat().st_size
