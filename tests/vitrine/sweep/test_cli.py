"""Sweeps from the command line, with a stand-in for train.py."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitrine.sweep import main

FAKE = Path(__file__).parents[2] / "helpers" / "fake_train.py"
FILE = """
program: train.py
method: grid
metric: {{name: {metric}, goal: {goal}}}
parameters:
  beta: {{values: [0.25, -1, 2.0, 1.25]}}
command: ["${{env}}", "${{interpreter}}", "${{program}}", fit, "${{args}}"]
"""


@pytest.fixture
def sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "betas.yaml"
    path.write_text(FILE.format(metric="val/f_reg", goal="minimize"), encoding="utf-8")
    return path


def records(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_runs_tells_failures_and_orders_the_rest(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep_file), "--train", str(FAKE), "--jobs", "2"]) == 1  # as one has failed
    out = Path("runs/sweeps/betas")
    found = records(out)
    assert [(row["beta"], row["status"]) for row in found] == [
        ("1.25", "finished"), ("0.25", "finished"), ("2.0", "finished"), ("-1", "failed"),
    ]  # fmt: skip
    assert found[-1]["error"] == "beta is -1.0; give 0 or more."
    assert found[0]["folder"] == "runs/sweeps/betas/beta=1.25"
    page, markdown = ((out / name).read_text(encoding="utf-8") for name in ("sweep.html", "sweep.md"))
    assert 'href="beta=1.25/"' in page
    assert "[beta=0.25](beta=0.25)" in markdown
    told = capsys.readouterr().out
    assert "4 runs in runs/sweeps/betas, 0 of them finished before" in told
    assert "beta=-1  failed: beta is -1.0; give 0 or more." in told


def test_called_again_it_runs_what_is_not_finished_and_goes_on_with_its_checkpoint(sweep_file: Path) -> None:
    main([str(sweep_file), "--train", str(FAKE)])
    out = Path("runs/sweeps/betas")
    (out / "beta=-1" / "mended").touch()
    state = out / "beta=2" / "sweep-run.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "status": "running"}))  # as one that was killed
    assert main([str(sweep_file), "--train", str(FAKE)]) == 0
    calls = {path.parent.name: path.read_text().split("\n")[:-1] for path in out.glob("*/calls.txt")}
    assert calls["beta=0.25"] == ["fit None"]
    assert calls["beta=2"] == calls["beta=-1"] == ["fit None", "fit auto"]
    assert [row["status"] for row in records(out)] == ["finished"] * 4


def test_a_metric_of_the_test_has_each_run_tested(sweep_file: Path) -> None:
    sweep_file.write_text(FILE.format(metric="test/iou", goal="maximize"), encoding="utf-8")
    main([str(sweep_file), "--train", str(FAKE), "--out", "there"])
    assert [row["beta"] for row in records(Path("there"))][:3] == ["2.0", "1.25", "0.25"]
    assert Path("there/beta=2/calls.txt").read_text() == "fit None\ntest None\n"


def test_a_test_can_be_asked_for_afterwards(sweep_file: Path) -> None:
    arguments = [str(sweep_file), "--train", str(FAKE), "--count", "1", "--out", "there"]
    main(arguments)
    main([*arguments, "--test"])
    assert Path("there/beta=0.25/calls.txt").read_text().split("\n")[-2].startswith("test")
    calls = Path("there/beta=0.25/calls.txt").read_text()
    main(arguments)
    assert Path("there/beta=0.25/calls.txt").read_text() == calls


def test_settings_that_would_share_a_folder_are_refused(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = sweep_file.read_text().replace("[0.25, -1, 2.0, 1.25]", "[0.12345671, 0.12345674]")
    sweep_file.write_text(text, encoding="utf-8")
    assert main([str(sweep_file), "--train", str(FAKE)]) == 2
    assert "two settings would share the folder" in capsys.readouterr().err


def test_another_command_does_not_write_over_a_run(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(sweep_file), "--train", str(FAKE), "--count", "1"])
    sweep_file.write_text(sweep_file.read_text().replace("fit,", "fit, -x,"), encoding="utf-8")
    assert main([str(sweep_file), "--train", str(FAKE), "--count", "1"]) == 2
    assert "beta=0.25 holds a run of another command" in capsys.readouterr().err


def test_a_dry_run_shows_commands_alone(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sweep_file), "--train", str(FAKE), "--dry-run", "--count", "2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("fit --beta=0.25 --trainer.default_root_dir=runs/sweeps/betas/beta=0.25")
    assert "--beta=-1" in second
    assert not Path("runs").exists()


def test_what_is_wrong_is_a_sentence(
    sweep_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["gone.yaml"]) == 2
    assert "gone.yaml does not exist" in capsys.readouterr().err
    assert main([str(sweep_file), "--jobs", "0"]) == 2
    assert "--jobs is 0; give 1 or more" in capsys.readouterr().err
    monkeypatch.setattr("vitrine.__file__", "/nowhere/vitrine/__init__.py")  # as where the wheel is installed
    assert main([str(sweep_file)]) == 2
    assert "needs a clone" in capsys.readouterr().err


def test_ctrl_c_stops_the_runs_and_leaves_them_to_go_on_with(sweep_file: Path) -> None:
    slow = sweep_file.with_name("slow.py")
    slow.write_text(f"import time, runpy; runpy.run_path({str(FAKE)!r}, run_name='__main__'); time.sleep(60)")
    command = [sys.executable, "-m", "vitrine.sweep", str(sweep_file), "--train", str(slow)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    calls = Path("runs/sweeps/betas/beta=0.25/calls.txt")
    end = time.monotonic() + 30
    while not calls.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the same command goes on" in told
    state = json.loads(Path("runs/sweeps/betas/beta=0.25/sweep-run.json").read_text())
    assert state["status"] != "finished"
