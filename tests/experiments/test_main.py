"""The command line of the experiments."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments import __main__ as command
from experiments import reading
from experiments.planning import Places
from experiments.running import Runner
from tests.helpers.experiment_files import options_of, write_experiment

TABLE = {"rows": {"A": "first"}, "columns": {"F": {"figure": "test/f", "digits": 2}}}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_experiment(tmp_path, title="Table nine", data={"root": "CUB_200_2011"}, fits={"minutes": 17}, table=TABLE)
    files = reading.experiment_files(tmp_path)
    monkeypatch.setattr(command, "experiment_files", lambda: files)
    monkeypatch.setattr(command, "find_experiment", lambda name: reading.find_experiment(name, tmp_path))
    monkeypatch.setenv("COLUMNS", "160")


def test_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["list", "--data", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("paper2020/table (17 min)")
    assert lines[place + 1 : place + 3] == ["    Table nine", f"    lacks below {tmp_path}: CUB_200_2011"]


def test_table_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "out/paper2020/table/first"
    (tmp_path / "CUB_200_2011").mkdir()
    experiment = reading.find_experiment("table", tmp_path)
    Runner(experiment, Places(tmp_path, tmp_path / "out"), lambda _: None, str).run()
    (folder / "metrics.json").write_text(json.dumps({"test/f": 0.25}))
    arguments = ["run", "table", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--table-only"]
    assert command.main(arguments) == 0
    assert "0.25" in capsys.readouterr().out
    assert "| A | 0.25 |" in (tmp_path / "out/paper2020/table/table.md").read_text()


def test_a_tiny_set_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what runs share by ``${out}``, such as shards."""
    write_experiment(tmp_path, runs={"first": {"commands": ["test"], "set": {"shards": "${out}/shards"}}}, table=TABLE)
    seen: list[Sequence[str]] = []
    monkeypatch.setattr(command, "Runner", lambda experiment, places: Runner(experiment, places, seen.append, str))
    for tiny, out in (([], tmp_path / "out"), (["--tiny"], tmp_path / "out/tiny")):
        assert command.main(["run", "table", "--out", str(tmp_path / "out"), *tiny]) == 0
        options = options_of(seen[-1])
        assert options["shards"] == f"{out}/shards"
        assert options["trainer.default_root_dir"] == f"{out}/paper2020/table/first"
        assert (out / "paper2020/table/table.md").is_file()


def test_errors_are_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["run", "tabel", "--out", str(tmp_path)]) == 2
    assert "no experiment 'tabel'" in capsys.readouterr().err
    assert command.main(["run", "table", "--data", str(tmp_path), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path}/CUB_200_2011 does not exist" in told
