"""Experiment files: found, built on others, and refused in one sentence that names file and key."""

from pathlib import Path
from typing import Any

import pytest

from experiments.reading import experiment_files, find_experiment, read_experiment, rows_of
from experiments.schema import Choice, Column, Cost, RunOptions
from tests.helpers.experiment_files import experiment_of, write_experiment

OVER = {"over": {"seed": [0, 1]}}
TABLE = {"rows": {"A": "first"}, "columns": {"F": {"figure": "test/f"}}}


def test_every_shipped_file_can_be_read() -> None:
    for name, path in experiment_files().items():
        assert read_experiment(path).name == name


def test_all_keys_are_read(tmp_path: Path) -> None:
    choice = {"grid": {"a.b": [1, 2]}, "figure": "val/f", "folds": 3}
    experiment = experiment_of(
        tmp_path,
        data={"root": "CUB"},
        fits={"minutes": 3, "why": "2 cores"},
        common={"x": 1},
        tiny={"x": 2},
        runs={"first": {"commands": ["test"], "configs": ["a.yaml"], "set": {"y": "${data}"}, "choose": choice}},
        table={**TABLE, "paper": {"A": {"F": 0.5}, "B": None}},
        figures={"curves": ["iou"]},
    )
    assert experiment.name == "paper2020/table"
    assert experiment.data == {"root": "CUB"}
    assert experiment.fits == Cost(3, "2 cores")
    assert (experiment.common, experiment.tiny) == ({"x": 1}, {"x": 2})
    chosen = Choice({"a.b": [1, 2]}, "val/f", 3)
    assert experiment.runs == {"first": RunOptions(["test"], ["a.yaml"], {"y": "${data}"}, choose=chosen)}
    assert experiment.table is not None
    assert experiment.table.columns == {"F": Column("test/f")}
    assert experiment.table.paper == {"A": {"F": 0.5}, "B": {}}
    assert rows_of(experiment) == {"A": ["first"]}


def test_a_file_builds_on_another(tmp_path: Path) -> None:
    runs = {"first": {"set": {"a": 1, "b": 2}}, "second": {}}
    write_experiment(tmp_path, "below", runs=runs, table=TABLE, common={"l": [1, 2]})
    changed = {"first": {"set": {"b": 3, "c": 4}}, "second": None}
    built = read_experiment(write_experiment(tmp_path, "above", base="below.yaml", runs=changed, common={"l": [3]}))
    assert built.name == "paper2020/above"
    assert list(built.runs) == ["first"]
    assert built.runs["first"].set == {"a": 1, "b": 3, "c": 4}
    assert built.common == {"l": [3]}
    assert built.table is not None
    write_experiment(tmp_path, "beside", common={"x": 1}, runs={"first": {"set": {"b": 9}}})
    both = read_experiment(write_experiment(tmp_path, "both", base=["below.yaml", "beside.yaml"], runs={}))
    assert both.runs["first"].set == {"a": 1, "b": 9}
    assert both.common == {"l": [1, 2], "x": 1}
    with pytest.raises(ValueError, match=r"loop\.yaml builds on itself"):
        read_experiment(write_experiment(tmp_path, "loop", base="loop.yaml"))


def test_rows_name_runs_that_there_are_also_of_another_experiment(tmp_path: Path) -> None:
    """Of two that take runs of each other."""
    write_experiment(
        tmp_path, "other", runs={"heads": OVER, "own": {"of": "table"}}, table={**TABLE, "rows": {"O": "own"}}
    )
    runs = {"heads": {"of": "other"}, "own": {}}
    for row in ("heads", "heads-1", "own"):
        assert rows_of(experiment_of(tmp_path, runs=runs, table={**TABLE, "rows": {"A": row}})) == {"A": [row]}
    with pytest.raises(ValueError, match=r"table\.yaml: table\.rows\.A names the run 'heads-2'"):
        experiment_of(tmp_path, runs=runs, table={**TABLE, "rows": {"A": "heads-2"}})


def test_experiments_are_found_by_name(tmp_path: Path) -> None:
    write_experiment(tmp_path, "one")
    (tmp_path / "paper2020" / "config.yaml").write_text("model: {class_path: SRAEModule}")
    write_experiment(tmp_path, "_base")
    other = tmp_path / "paper2021"
    other.mkdir()
    (other / "one.yaml").write_text("{title: T, runs: {a: {}}}")
    (other / "two.yaml").write_text("{title: T, runs: {a: {}}}")
    assert list(experiment_files(tmp_path)) == ["paper2020/one", "paper2021/one", "paper2021/two"]
    assert find_experiment("two", tmp_path).name == find_experiment("paper2021/two", tmp_path).name == "paper2021/two"
    with pytest.raises(ValueError, match=r"one is the name of several.*paper2020/one, paper2021/one"):
        find_experiment("one", tmp_path)
    with pytest.raises(ValueError, match=r"no experiment 'tow'.*two"):
        find_experiment("tow", tmp_path)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"title": 3}, "title is 3"),
        ({"rusn": {}}, "rusn is no key.*did you mean runs"),
        ({"runs": {}}, "runs is empty"),
        ({"runs": [1]}, r"runs is \[1\]"),
        ({"runs": {"a": {"comands": []}}}, r"runs\.a.*comands.*commands"),
        ({"runs": {"a": {"commands": ["train"]}}}, r"runs\.a.*commands\[0\] is 'train'.*'fit'"),
        ({"runs": {"a": {"over": {"seed": 3}}}}, r"runs\.a: seed is 3; give a list"),
        ({"runs": {"a": {"choose": {"grid": {"b": []}, "figure": "val/f"}}}}, r"runs\.a: b is \[\]; give a list"),
        ({"runs": {"a": {"choose": {"grid": {"b": [1]}}}}}, r"runs\.a.*lacks.*figure"),
        ({"runs": {"a": {"choose": {"grid": {"b": [1]}, "figure": "f", "folds": 1}}}}, r"choose\.folds is 1"),
        ({"fits": {"minutes": 0}}, "fits.*minutes is 0"),
        ({"table": {"rows": {"A": "frist"}, "columns": {}}}, r"table\.rows\.A names the run 'frist'.*first"),
        ({"table": {**TABLE, "columns": {"F": {"scale": 2}}}}, r"table\.columns\.F lacks.*figure"),
        ({"table": {**TABLE, "paper": {"A": {"G": 1}}}}, r"table\.paper\.A has 'G', which is no column"),
        ({"runs": {"a": {"of": "other", "commands": ["test"]}}}, r"runs\.a is taken of other and gives commands"),
        ({"runs": {"a": {"set": {"x": 1}, "of": "other"}}}, r"runs\.a is taken of other and gives set"),
        (
            {"runs": {"a": OVER}, "figures": {"rows": {"A": ["a-0", "a-9"]}}},
            r"rows\.A names the run 'a-9'.*did you mean a-1 or a-0",
        ),
        ({"runs": {"a": OVER}, "figures": {"rows": {"A": "a-0-1/CAM"}}}, r"rows\.A names the run 'a-0-1/CAM'"),
        ({"runs": {"a": {}}, "figures": {"rows": {"A": "a-0"}}}, r"rows\.A names the run 'a-0'.*there are a\."),
        ({"figures": {"pictures": {"a": "none/x.png"}}}, r"figures\.pictures\.a names the run 'none/x\.png'"),
    ],
)
def test_what_is_refused(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        experiment_of(tmp_path, **keys)
    assert "paper2020/table.yaml" in str(refused.value)


@pytest.mark.parametrize("text", ["- a", "title: [", "a: ${b"])
def test_files_that_are_no_keys_and_values(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml is not a YAML file of keys and values"):
        read_experiment(path)
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
        read_experiment(tmp_path / "none.yaml")
