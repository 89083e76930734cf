"""Options from files and the command line: which come last, what is interpolated, and help."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import train
from tests.helpers.commands import (
    QUICKSTART,
    SMALL,
    SMALL_SRAE,
    refusal,
    run,
)
from vitrine.backbones.frozen import FrozenBackbone


def printed_config(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as stopped:
        run(*args, "--print_config")
    assert stopped.value.code == 0
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


def test_overrides_on_the_command_line_come_last(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(capsys, *QUICKSTART, "--trainer.max_epochs", "7", "--model.init_args.training.beta", "0.25")
    assert config["trainer"]["max_epochs"] == 7
    assert config["trainer"]["default_root_dir"] == "runs/quickstart"
    assert config["trainer"]["log_every_n_steps"] == 1
    assert config["model"]["init_args"]["training"]["beta"] == 0.25


def test_later_files_come_last(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "mine.yaml").write_text(
        "trainer:\n  max_epochs: 9\nmodel:\n  init_args:\n    training:\n      eta: 0.125\n"
    )
    config = printed_config(capsys, *QUICKSTART, "-c", "mine.yaml")
    assert config["trainer"]["max_epochs"] == 9
    assert config["model"]["init_args"]["training"]["eta"] == 0.125
    assert config["model"]["class_path"].endswith("SRAEModule")


def test_overrides_reach_what_is_interpolated(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "mine.yaml").write_text(
        "model: {init_args: {training: {beta: 2.0, eta: '${model.init_args.training.beta}'}}}", encoding="utf-8"
    )
    cli = run_without_work(*QUICKSTART, "-c", "mine.yaml", "--model.init_args.training.beta", "0.5")
    assert (cli.model.train_options.beta, cli.model.train_options.eta) == (0.5, 0.5)


def test_null_is_null_also_within(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(capsys, *QUICKSTART, "--model.init_args.backbone.weights=null")
    assert config["model"]["init_args"]["backbone"]["weights"] is None


def run_without_work(*args: str) -> train.TrainCLI:
    return run(*args, *SMALL, *SMALL_SRAE, "--trainer.limit_train_batches=0", "--trainer.limit_val_batches=0")


def test_help_is_there_for_every_command(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("fit", "validate", "test", "predict"):
        with pytest.raises(SystemExit) as stopped:
            run(command, "--help")
        assert stopped.value.code == 0
        assert "--trainer.max_epochs" in capsys.readouterr().out


def test_abbreviated_options_are_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also within a class, where jsonargparse has a parser of its own for each."""
    for option, value in (
        ("trainer.max_epo", "3"),
        ("model.init_args.training.bet", "3"),
        ("model.init_args.backbone.nam", "a"),
    ):
        assert f"no key {option}" in refusal(capsys, *QUICKSTART, f"--{option}", value)


def test_defaults_of_one_model_do_not_leak_into_another(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(capsys, *QUICKSTART, "--model", "ClassifierModule")
    assert not {"srae", "training"} & set(config["model"]["init_args"])
    assert config["model"]["init_args"]["label_smoothing"] == 0


def test_wandb_is_offline_unless_somebody_says_otherwise(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, "offline"), ("online", "online"), ("disabled", "disabled")):
        if given is None:
            monkeypatch.delenv("WANDB_MODE", raising=False)
        else:
            monkeypatch.setenv("WANDB_MODE", given)
        with pytest.raises(SystemExit):
            run("fit", "--help")
        assert os.environ["WANDB_MODE"] == expected


def test_the_options_of_the_command_that_is_run_are_collected_alone(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collected: list[str] = []
    collect = LightningCLI._prepare_subcommand_parser

    def seen(self: LightningCLI, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        collected.append(subcommand)
        return collect(self, klass, subcommand, **kwargs)

    monkeypatch.setattr(LightningCLI, "_prepare_subcommand_parser", seen)
    for words, expected in (
        (["--help"], []),
        (["test", "--help"], ["test"]),
        (["-c", "configs/quickstart.yaml", "fit", "--help"], ["fit", "validate", "test", "predict"]),
    ):
        collected.clear()
        with pytest.raises(SystemExit):
            run(*words)
        assert collected == expected
    assert "{fit,validate,test,predict}" in capsys.readouterr().out


def test_a_config_elsewhere_names_shipped_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a folder that holds nothing of the repository, with short names of models."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    text = (Path(train.__file__).parent / "configs" / "quickstart.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine" / "my.yaml").write_text(text, encoding="utf-8")
    config = printed_config(capsys, "fit", "-c", "mine/my.yaml", "--model", "grad_cam")
    assert config["data"]["init_args"]["shards"] == "data/an8flower-small"
    assert config["model"]["class_path"] == "lightning_modules.AttributionModule"
    assert config["model"]["init_args"]["attribution"]["method"] == "GradCAM"
    backbone = config["model"]["init_args"]["backbone"]
    assert FrozenBackbone(backbone["name"], backbone["weights"]).options.num_classes == 6
    config = printed_config(
        capsys, "fit", "-c", "configs/quickstart.yaml", "--data", "data/cub.yaml", "--model=mu_lasso"
    )
    assert config["data"]["init_args"]["shards"] == "data/cub"
    assert config["model"]["class_path"] == "lightning_modules.MuLassoModule"
