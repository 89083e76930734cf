"""The command line: runs from fit to predict, and their folders, checkpoints and repetitions."""

import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

import vitrine
from tests.helpers.commands import QUICKSTART, SMALL, SMALL_SRAE, fit_quickstart, refusal, run
from vitrine.core.checkpoint_files import checkpoint_files


def test_a_run_from_fit_to_predict(workplace: Path, class_folder: Path) -> None:
    """What the README's table of a run's folder promises."""
    fit_quickstart()
    folder = workplace / "runs" / "quickstart"
    config = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
    run("validate", *config)
    run("test", *config)
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    metrics = json.loads((folder / "metrics.json").read_text())
    promised = {"f_reg", "f_cls", "energy_in_mask", "iou", "energy_in_boxes", "pointing_game"}
    assert {f"test/{name}" for name in promised} <= set(metrics)
    assert (folder / "report" / "index.html").is_file()
    assert (folder / "x_features" / "index.html").is_file()
    linked = (folder / "index.html").read_text()
    assert all(f'href="{name}/index.html"' in linked for name in ("report", "x_features", "predictions"))
    assert {path.name for path in (folder / "explainer").iterdir()} >= {"explainer.json", "explainer.safetensors"}
    assert vitrine.load(folder / "explainer").classes
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    pictures = list((folder / "predictions").rglob("*_x-feature-*.png"))
    assert len(pictures) == 4 * 2
    for stage in ("fit", "validate", "test", "predict"):
        assert yaml.safe_load((folder / f"config-{stage}.yaml").read_text())["model"]["class_path"]


def test_predicting_needs_no_shards(workplace: Path, class_folder: Path) -> None:
    """Where only the run's folder and some pictures are at hand."""
    fit_quickstart()
    (workplace / "data" / "an8flower-small").unlink()
    config = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    rows = (workplace / "runs" / "quickstart" / "predictions" / "predictions.csv").read_text().splitlines()[1:]
    known = set(vitrine.load(workplace / "runs" / "quickstart" / "explainer").classes)
    assert {row.split(",")[2] for row in rows} <= known


def test_a_second_fit_in_the_same_folder_has_to_say_what_it_means(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_quickstart()
    folder = workplace / "runs" / "quickstart"
    before = contents(folder)
    options = [*QUICKSTART, *SMALL, *SMALL_SRAE, "--model.init_args.training.beta", "0.5"]
    for more in ([], ["--trainer.max_epochs=0"], ["--trainer.limit_train_batches=1"]):
        told = refusal(capsys, *options, *more)
        for part in ("runs/quickstart holds a run", "--ckpt_path auto", "trainer.default_root_dir", "--overwrite true"):
            assert part in told
    run(*options, "--trainer.fast_dev_run=true")
    run(*options, "--trainer.fast_dev_run=true", "--ckpt_path=auto")
    assert contents(folder) == before
    assert "give one of them" in refusal(capsys, *options, "--overwrite=true", "--ckpt_path=auto")
    (folder / "metrics.json").write_text("{}")
    run(*options, "--overwrite", "true")
    saved = yaml.safe_load((folder / "config-fit.yaml").read_text())
    assert saved["model"]["init_args"]["training"]["beta"] == 0.5
    assert "overwrite" not in saved
    assert not (folder / "metrics.json").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its logs."""
    files = [path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def flip_a_byte(archive: Path) -> None:
    """In the middle of the largest member of a zip archive: between members there is padding, which means nothing."""
    with zipfile.ZipFile(archive) as opened:
        member = max(opened.infolist(), key=lambda info: info.file_size)
    content = bytearray(archive.read_bytes())
    name_length, extra_length = struct.unpack_from("<HH", content, member.header_offset + 26)
    content[member.header_offset + 30 + name_length + extra_length + member.file_size // 2] ^= 1
    archive.write_bytes(content)


def test_auto_goes_on_from_the_newest_whole_checkpoint(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_quickstart("--ckpt_path", "auto").trainer.ckpt_path is None
    newest, before = checkpoint_files("runs/quickstart")[:2] or (None, None)
    assert newest is not None
    flip_a_byte(newest)
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, "--ckpt_path", str(newest))
    assert f"{newest} is damaged" in told
    cli = run("test", "-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE)
    assert cli.trainer.ckpt_path == before
    resumed = fit_quickstart("--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert resumed.trainer.current_epoch == 3
    assert "no checkpoint" not in capsys.readouterr().err


def test_last_and_best_have_to_be_there(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last", "best", "nowhere.ckpt"):
        told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, "--ckpt_path", name)
        assert f"--ckpt_path {name}: " in told
        assert "does not exist" in told


def test_the_best_is_tested(workplace: Path) -> None:
    monitor = ["--checkpoint.monitor=val/f_reg", "--checkpoint.mode=min"]
    fit_quickstart(*monitor)
    cli = run("test", "-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, "--ckpt_path", "best")
    assert str(cli.trainer.ckpt_path).endswith("checkpoints/best.ckpt")


def test_a_requeued_job_goes_on_by_itself(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quickstart("--overwrite", "true", "--trainer.max_epochs", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    cli = fit_quickstart("--overwrite", "true", "--trainer.max_epochs", "2")
    assert str(cli.trainer.ckpt_path).endswith("last.ckpt")
    assert cli.trainer.current_epoch == 2


def test_a_saved_config_repeats_the_run(workplace: Path) -> None:
    first = fit_quickstart()
    again = run("fit", "-c", "runs/quickstart/config-fit.yaml", "--trainer.default_root_dir=runs/again")
    for one, two in zip(first.model.explainer.parameters(), again.model.explainer.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_checkpoint_does_not_override_the_command_line(workplace: Path) -> None:
    fit_quickstart()
    checkpoint = "runs/quickstart/checkpoints/last.ckpt"
    cli = fit_quickstart(
        "--ckpt_path", checkpoint, "--trainer.max_epochs", "3", "--model.init_args.training.beta", "0.75"
    )
    assert cli.model.train_options.beta == 0.75
    assert cli.trainer.current_epoch == 3


def test_a_resumed_run_equals_one_that_was_never_stopped(workplace: Path) -> None:
    whole = fit_quickstart(
        "--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null", "--trainer.default_root_dir=runs/whole"
    )  # fmt: skip
    fit_quickstart("--trainer.max_epochs", "2", "--model.init_args.lr_scheduler", "null")
    resumed = fit_quickstart(
        "--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null",
        "--ckpt_path", "runs/quickstart/checkpoints/last.ckpt",
    )  # fmt: skip
    for one, two in zip(whole.model.explainer.parameters(), resumed.model.explainer.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    "config",
    [
        ["-c", "configs/quickstart.yaml", *SMALL_SRAE],
        ["-c", "configs/flower_classifier.yaml", "--model.init_args.backbone.name=squeezenet1_1"],
    ],
    ids=["srae", "classifier"],
)
def test_a_fit_that_was_stopped_in_a_validation_equals_one_that_was_not(config: list[str], workplace: Path) -> None:
    """Where the epoch is not over and its schedule has stepped."""
    options = ["fit", *config, *SMALL, "--trainer.max_epochs=3"]
    whole = run(*options, "--trainer.default_root_dir=runs/whole")
    options += ["--trainer.default_root_dir=runs/stopped"]
    stop = [
        "--trainer.callbacks+=tests.helpers.line_fit.SignalAt",
        "--trainer.callbacks.init_args.hook=on_validation_start",
    ]
    with pytest.raises(SystemExit) as stopped:
        run(*options, *stop)
    assert stopped.value.code == 143
    resumed = run(*options, "--ckpt_path=auto")
    for one, two in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
