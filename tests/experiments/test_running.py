"""Runner: each run once, stopped ones go on, changed ones are run again with what reads them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import running
from experiments.running import Runner, complete_folders, train_in_child
from tests.helpers.experiment_files import FakeTrain, experiment_of, options_of, places_in, write_experiment

RUNS: dict[str, Any] = {
    "first": {"set": {"x": 1}},
    "second": {"commands": ["test"], "set": {"w": "${run:first}"}},
    "third": {},
}


def run(folder: Path, train: FakeTrain, only: tuple[str, ...] = (), **keys: Any) -> list[str]:
    """Runs an experiment; returns what it was told."""
    told: list[str] = []
    Runner(experiment_of(folder, **({"runs": RUNS} | keys)), places_in(folder), train, told.append).run(only)
    return told


def test_complete_runs_are_not_run_again(tmp_path: Path) -> None:
    train = FakeTrain()
    told = run(tmp_path, train)
    assert train.commands == ["fit first", "test first", "test second", "fit third", "test third"]
    assert told[0] == "[1/3] paper2020/table first: fit\n"
    assert run(tmp_path, train) == []
    assert len(train.calls) == 5


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    train = FakeTrain()
    train.fails_at = 2
    with pytest.raises(ValueError, match="it failed"):
        run(tmp_path, train)
    run(tmp_path, train)
    assert train.commands == ["fit first", "test first", "test first", "test second", "fit third", "test third"]
    assert options_of(train.calls[0])["ckpt_path"] == "auto"


def test_other_arguments_run_again_with_what_reads_the_run(tmp_path: Path) -> None:
    train = FakeTrain()
    run(tmp_path, train)
    changed = {**RUNS, "first": {"set": {"x": 2}}}
    run(tmp_path, train, runs=changed)
    assert train.commands[5:] == ["fit first", "test first", "test second"]
    assert options_of(train.calls[5]).get("overwrite") == "true"
    train.fails_at = 9  # before it wrote anything
    changed = {**RUNS, "first": {"set": {"x": 3}}}
    with pytest.raises(ValueError, match="it failed"):
        run(tmp_path, train, runs=changed)
    run(tmp_path, train, runs=changed)
    assert options_of(train.calls[9]).get("overwrite") == "true"  # nothing of its own to go on with yet


def test_only_some_runs_and_what_they_read(tmp_path: Path) -> None:
    train = FakeTrain()
    run(tmp_path, train, only=("second",))
    run(tmp_path, train, only=("first",))
    assert train.commands == ["fit first", "test first", "test second"]
    with pytest.raises(ValueError, match="'frist', which is no run; there are first, second, third"):
        run(tmp_path, train, only=("frist",))


def test_a_run_of_another_experiment(tmp_path: Path) -> None:
    net = {"net": {"commands": ["fit"]}, "heads": {"over": {"seed": [0, 1]}, "set": {"w": "${run:net}"}}, "other": {}}
    write_experiment(tmp_path, "shared", runs=net)
    runs: dict[str, Any] = {"heads": {"of": "shared"}, "masked": {"commands": ["test"], "over": {"seed": [0, 1]}}}
    runs["masked"]["set"] = {"ckpt_path": "${run:heads-${each}}/last.ckpt"}
    train = FakeTrain()
    run(tmp_path, train, runs=runs)
    heads = ["fit net", "fit heads-0", "test heads-0", "fit heads-1", "test heads-1"]
    assert train.commands == [*heads, "test masked-0", "test masked-1"]
    folder = tmp_path / "out/paper2020/shared/heads-1"
    assert options_of(train.calls[-1])["ckpt_path"] == f"{folder}/last.ckpt"
    assert folder.is_dir()
    run(tmp_path, train, runs=runs)
    run(tmp_path, train, only=("masked-0",), runs=runs)
    assert len(train.calls) == 7
    with pytest.raises(ValueError, match=r"runs\.none is taken of .*shared\.yaml, which has no run 'none'"):
        run(tmp_path, train, runs={"none": {"of": "shared"}})


def test_values_are_chosen_first_and_only_once(tmp_path: Path) -> None:
    def figures(command: str, options: Any) -> dict[str, float]:
        # The least at beta 2, on both folds; 5 is within 1.5 times it.
        errors = {"1": 0.4, "2": 0.2, "5": 0.29, "9": 0.8}
        return {"val/f": errors[options["beta"]] + 0.001 * int(options.get("data.init_args.loading.val_fold", 0))}

    choice = {"grid": {"beta": [1, 2, 5, 9]}, "figure": "val/f", "folds": 2, "within": 1.5, "set": {"epochs": 3}}
    runs = {"first": {"choose": choice, "over": {"seed": [0, 1]}, "set": {"epochs": 9}}}
    train = FakeTrain(figures)
    run(tmp_path, train, runs=runs)
    assert train.commands[:8] == [f"fit {point}-{fold}" for point in range(4) for fold in range(2)]
    assert options_of(train.calls[3])["data.init_args.loading.val_folds"] == "2"
    assert options_of(train.calls[3])["epochs"] == "3"
    assert train.commands[8:] == ["fit first-0", "test first-0", "fit first-1", "test first-1"]
    for call in train.calls[8:]:
        assert options_of(call)["beta"] == "5"
        assert options_of(call)["epochs"] == "9"
    run(tmp_path, train, runs=runs)
    assert len(train.calls) == 12
    record = json.loads((tmp_path / "out/paper2020/table/choices/first.json").read_text())
    assert record["chosen"] == {"beta": 5}
    assert record["tried"][0] == {"values": {"beta": 1}, "figures": [0.4, 0.401]}


def test_a_choice_is_made_anew_where_what_it_read_has_changed(tmp_path: Path) -> None:
    """Also with its fits; runs that read one network each share the choice that was made on the first."""

    def runs_on(width: int) -> dict[str, Any]:
        over = {"over": {"seed": [1, 7]}}
        choice = {"grid": {"beta": [1, 2]}, "figure": "val/f", "folds": 2}
        heads = {"commands": ["fit"], "choose": choice, "set": {"w": "${run:net-${each}}"}, **over}
        return {"net": {"commands": ["fit"], "set": {"width": width}, **over}, "heads": heads}

    best = "1"
    train = FakeTrain(lambda _, options: {"val/f": float(options.get("beta", "1") != best)})
    run(tmp_path, train, runs=runs_on(1))
    nets, heads = ["fit net-1", "fit net-7"], ["fit heads-1", "fit heads-7"]
    commands = [*nets, *(f"fit {point}-{fold}" for point in range(2) for fold in range(2)), *heads]
    assert train.commands == commands
    run(tmp_path, train, runs=runs_on(1))
    run(tmp_path, train, only=("heads-7",), runs=runs_on(1))
    assert train.commands == commands
    best = "2"
    run(tmp_path, train, runs=runs_on(2))
    assert train.commands == [*commands, *commands]
    assert options_of(train.calls[-1])["beta"] == "2"


def test_a_run_whose_choice_is_still_to_be_made_is_not_complete(tmp_path: Path) -> None:
    """Though it was run with the same words before there was anything to choose."""
    run(tmp_path, FakeTrain(), only=("first",))
    folder = tmp_path / "out/paper2020/table/first"
    assert complete_folders(experiment_of(tmp_path, runs=RUNS), places_in(tmp_path)) == {folder}
    choice = {"grid": {"beta": [1, 2]}, "figure": "val/f"}
    changed = experiment_of(tmp_path, runs={**RUNS, "first": {"set": {"x": 1}, "choose": choice}})
    assert complete_folders(changed, places_in(tmp_path)) == set()


def test_a_child_process_runs_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").write_text(
        "import sys, pathlib; pathlib.Path('seen').write_text(' '.join(sys.argv[1:])); sys.exit(3 * ('bad' in sys.argv))"
    )
    monkeypatch.setattr(running, "ROOT", tmp_path)
    train_in_child(["fit", "--a=b c"])
    assert (tmp_path / "seen").read_text() == "fit --a=b c"
    with pytest.raises(ValueError, match=r"python train\.py bad.*exit code 3"):
        train_in_child(["bad"])


def test_the_package_imports_no_lightning() -> None:
    for path in Path(running.__file__).parent.glob("*.py"):
        assert "lightning" not in path.read_text().replace("lightning_modules", ""), path
    assert "experiments.running" in sys.modules
