"""A run in two processes leaves what one process with batches of twice the size leaves."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from tests.helpers.ranks import RankPool
from tests.helpers.scripts import run_script, train_on_rank

ROOT = Path(__file__).parents[2]
PANEL = "{class_path: HeatmapPanel, init_args: {num_images: 3, every_n_epochs: 2}}"


@pytest.fixture
def folders(
    workplace: Path, small_run: list[str], ranks: RankPool, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """The folders of the run in one process and in two; the fit in two starts them by the command line."""
    monkeypatch.setenv("VITRINE_TRACEBACK", "1")
    (workplace / "mine.yaml").write_text(
        f"trainer:\n  callbacks: [{{class_path: Export}}, {PANEL}, {{class_path: ReportGallery}},"
        " {class_path: RestartDeadHeads, init_args: {every_n_epochs: 1}}]\n"
    )
    options = [*small_run, "-c", "mine.yaml"]
    one = [*options, "--trainer.default_root_dir=one", "--data.init_args.loading.batch_size=8"]
    for command in ("fit", "test"):
        train.main([command, *one])
    ddp = ["-c", "configs/trainer/ddp.yaml", "--trainer.accelerator=cpu", "--trainer.devices=2"]
    two = [*options, *ddp, "--trainer.default_root_dir=two", "--data.init_args.loading.batch_size=4"]
    run_script(ROOT / "train.py", "fit", *two, cwd=workplace)
    ranks.run(train_on_rank, ["test", *two], folder=workplace)
    return workplace / "one", workplace / "two"


def _figures(folder: Path) -> dict[str, float]:
    """A test's figures; not a number where there was nothing to measure, such as pairs of the difficult subset."""
    figures = json.loads((folder / "metrics.json").read_text())
    return {name: float("nan") if value is None else value for name, value in figures.items()}


def test_two_processes_leave_what_one_leaves(folders: tuple[Path, Path]) -> None:
    two = folders[1]
    first, second = (_figures(folder) for folder in folders)
    assert second == pytest.approx(first, rel=1e-3, abs=1e-5, nan_ok=True)
    heads, others = (load_file(folder / "explainer" / "explainer.safetensors") for folder in folders)
    assert heads.keys() == others.keys()
    for name, tensor in heads.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-4)
    left, right = (
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "logs" not in path.parts)
        for folder in folders
    )
    assert left == right
    assert sorted(path.name for path in (two / "panels").iterdir()) == ["epoch-0001-step-000006.png", "test.png"]
    assert (two / "report" / "index.html").is_file()
