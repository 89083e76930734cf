"""Files of people and values of the environment, through whole runs: the former stay, the latter are not written out."""

import stat
from pathlib import Path

import pytest
import yaml

from tests.helpers.commands import QUICKSTART, SMALL, SMALL_SRAE, fit_quickstart, refusal, run
from tests.test_train_options import printed_config

CONFIG = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
VALUE = "value-of-the-environment"
INTERPOLATION = "runs/${oc.env:VITRINE_TEST_VALUE}"


def test_values_of_the_environment_are_not_written_out(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VITRINE_TEST_VALUE", VALUE)
    options = [f"--trainer.default_root_dir={INTERPOLATION}"]
    assert printed_config(capsys, *QUICKSTART, *options)["trainer"]["default_root_dir"] == INTERPOLATION
    fit_quickstart(*options)
    folder = workplace / "runs" / VALUE
    texts = [path for path in folder.rglob("*") if path.is_file()]
    assert {"config-fit.yaml", "hparams.yaml", "last.ckpt", "explainer.json"} <= {path.name for path in texts}
    assert [path for path in texts if VALUE.encode() in path.read_bytes()] == []
    config = yaml.safe_load((folder / "config-fit.yaml").read_text(encoding="utf-8"))
    assert config["trainer"]["default_root_dir"] == INTERPOLATION
    assert config["trainer"]["max_epochs"] == 2
    monkeypatch.setenv("VITRINE_TEST_VALUE", "another")
    run("fit", "-c", str(folder / "config-fit.yaml"), "--trainer.max_epochs=1")
    assert (workplace / "runs" / "another" / "explainer" / "explainer.json").is_file()


def test_files_of_people_outlast_runs_in_linked_folders(workplace: Path) -> None:
    """`runs/` and `explainer/` are links, as where a disk is too small; everything is readable by whom the umask lets."""
    (workplace / "runs").symlink_to(workplace / "large_disk" / "runs")
    folder = workplace / "large_disk" / "runs" / "quickstart"
    folder.mkdir(parents=True)
    (folder / "explainer").symlink_to("../explainers/quickstart")
    (folder / "checkpoints").symlink_to("../checkpoints/quickstart")
    fit_quickstart("--overwrite=true")
    run("test", *CONFIG)
    mine = [
        folder / name for name in ("explainer/notes.txt", "report/thesis.tex", "x_features/deep/mine.png", "mine.csv")
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    fit_quickstart("--overwrite=true")
    run("test", *CONFIG)
    assert [path.read_text() for path in mine] == ["mine"] * len(mine)
    assert (folder / "explainer").readlink() == Path("../explainers/quickstart")
    assert (workplace / "runs").is_symlink()
    written = [path for path in (workplace / "large_disk").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {stat.S_IMODE(mine[0].stat().st_mode)}
    assert {"last.ckpt", "explainer.safetensors", "config-fit.yaml"} <= {path.name for path in written}


def test_folders_of_people_are_refused_before_the_first_step(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace / "runs" / "quickstart"
    for name in ("explainer/explainer.json", "report/index.html", "report/thesis.tex", "predictions/predictions.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, "--overwrite=true")
    assert "runs/quickstart/explainer exists and is not an empty folder" in told
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before
    (folder / "explainer" / "explainer.json").unlink()
    fit_quickstart("--overwrite=true")
    capsys.readouterr()
    assert "runs/quickstart/report exists and is not an empty folder" in refusal(capsys, "test", *CONFIG)
    assert not (folder / "metrics.json").exists()
    told = refusal(capsys, "predict", *CONFIG, "--data.init_args.predict_root", str(workplace / "data"))
    assert "runs/quickstart/predictions exists and is not an empty folder" in told
    assert {path.read_text() for path in (folder / "report").iterdir()} == {"mine"}
