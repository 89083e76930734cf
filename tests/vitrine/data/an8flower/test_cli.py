"""``python -m vitrine.an8flower``: errors in one sentence, exit codes."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from vitrine.data.an8flower.cli import main

TINY = ["--views", "2", "--folds", "2", "--size", "24", "--crops", "1", "--rotations", "1", "--crop-size", "20"]


def test_the_command_can_be_called_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--variant", "single-6c", "--out", str(tmp_path), *TINY, "--workers", "1", "--if-missing"]
    assert main(arguments) == 0
    assert "wrote" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "has the set already" in capsys.readouterr().err
    assert main([*arguments, "--seed", "1"]) == 2
    assert "seed 0, not 1" in capsys.readouterr().err
    assert main(arguments[:-1]) == 2
    assert "exists and is not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "triple-9c"], "variant is 'triple-9c'; give 'single-6c', 'double-12c' or 'part-2c'."),
        (["--variant", "single-6c", "--size", "200"], "crop_size is 250; give a whole number from 8 to 200."),
        (["--variant", "single-6c", "--crops", "6"], "crops is 6; give a whole number from 1 to 5."),
        (["--variant", "single-6c", "--rotations", "0"], "rotations is 0; give a whole number from 1 to 5."),
        (["--variant", "single-6c", "--folds", "41"], "folds is 41; give a whole number from 2 to 40."),
        (["--variant", "single-6c", "--test-fold", "5"], "test_fold is 5; give a whole number from 0 to 4."),
        (["--variant", "single-6c", "--supersampling", "0"], "supersampling is 0"),
        (["--variant", "single-6c", "--seed", "-1"], "seed is -1"),
        (["--variant", "single-6c", "--workers", "0"], "workers is 0; give 1 or more"),
        (["--variant", "single-6c", "--views", "many"], "--views"),
        (["--variant", "single-6c", "--without-parts", "1"], "unrecognized arguments: 1"),
        (["--variant", "single-6c", "--view", "4"], "--view"),
        ([], "--variant"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "set")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("package", ["trimesh", "embreex"])
def test_an_absent_package_names_the_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def without(name: str) -> ModuleSpec | None:
        return None if name == package else find(name)

    monkeypatch.setattr("vitrine.data.an8flower.cli.find_spec", without)
    assert main(["--variant", "single-6c", "--out", str(tmp_path / "set"), *TINY]) == 2
    told = capsys.readouterr().err
    assert package in told
    assert "pip install 'vitrine[synthetic]'" in told


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["--variant", "single-6c", "--out", str(file), *TINY, "--workers", "1"]) == 2
    assert str(file) in capsys.readouterr().err
