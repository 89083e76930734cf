import json
import subprocess
import sys
from pathlib import Path

import pytest

import vitrine
from vitrine.data.shards.cli import main


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_convert_then_verify(class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sets" / "pets"
    assert run("folder", "--root", class_folders, "--out", out, "--shard-size", 3, "--workers", 1) == 0
    assert run("verify", out, "--workers", 0) == 0
    output = capsys.readouterr()
    assert "written" in output.out
    assert "whole" in output.out
    assert output.err == ""
    assert [shard["count"] for shard in json.loads((out / "index.json").read_text())["shards"]] == [3, 1]


def test_the_module_runs_and_a_user_error_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vitrine.shards", "cub", "--root", str(tmp_path / "gone"), "--split", "train"]
    root = Path(vitrine.__file__).parents[1]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "o")], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'gone'} is no folder: give the folder that holds the data set.\n"
    assert done.stdout == ""


def test_an_existing_target_is_a_user_error(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("folder", "--root", class_folders, "--out", class_folders) == 2
    assert "exists and is not an empty folder: remove it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_verify_tells_a_damaged_split_from_a_wrong_folder(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("folder", "--root", class_folders, "--out", out, "--workers", 1) == 0
    capsys.readouterr()
    (out / "shard-000000.tar").write_bytes(b"")
    assert run("verify", out) == 1
    assert capsys.readouterr().err.startswith("shard-000000.tar: its sha256 differs")
    (out / "index.json").write_text("{")
    assert run("verify", out) == 1
    assert "index.json is not JSON" in capsys.readouterr().err
    assert run("verify", class_folders) == 2
    assert "pets/index.json does not exist" in capsys.readouterr().err


def test_verify_shows_the_first_problems_alone(
    class_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("folder", "--root", class_folders, "--out", tmp_path / "out", "--workers", 1) == 0
    for number in range(30):
        (tmp_path / "out" / f"stray-{number}.tar").touch()
    assert run("verify", tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 10 more problems"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["moths"],
        ["cub", "--root", "a", "--out", "b", "--split", "val"],
        ["voc", "--root", "a", "--out", "b", "--split", "person_train"],
        ["voc", "--root", "a", "--out", "b", "--split", "test", "--year", "late"],
        ["folder", "--root", "a", "--out", "b", "--shard-size", "0"],
        ["folder", "--root", "a", "--out", "b", "--workers", "-1"],
        ["folder", "--root", "a", "--out", "b", "--work", "1"],
        ["verify"],
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: vitrine shards" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["cub"], ["folder"], ["voc"], ["verify"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    converts = command in (["cub"], ["folder"], ["voc"])
    assert all(option in text for option in ("--shard-size", "--workers")) == converts
