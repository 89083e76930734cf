"""The command line's errors: one sentence and exit code 2."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.commands import (
    QUICKSTART,
    ROOT,
    SMALL,
    SMALL_IMAGES,
    SMALL_SRAE,
    fit_quickstart,
    refusal,
    run,
    the_error,
)
from tests.helpers.image_sets import write_picture


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--trainer.max_epochs", "many"], ["trainer.max_epochs is 'many'", "give a whole number or null"]),
        (["--model.init_args.training.beta", "fast"], ["model.init_args.training.beta is 'fast'", "give a number"]),
        (["--model.init_args.srae.hidden", "[a]"], ["model.init_args.srae.hidden is 'a'", "give a whole number"]),
        (
            ["--model.init_args.srae.explained_classes", "red"],
            ["explained_classes is 'red'", "give a list or 'by_name' or null"],
        ),
        (["--model.init_args.training.positive_weight", "all"], ["weight is 'all'", "give a number or 'balanced'"]),
        (["--model.init_args.training.objective", "ae"], ["training.objective is 'ae'", "'cae'"]),
        (["--model.init_args.training.objective", "null"], ["training.objective is null", "'cae'"]),
        (["--data.init_args.preprocessing.size", "big"], ["preprocessing.size is 'big'", "give a whole number"]),
        (["--trainer.max_epoch", "3"], ["no key trainer.max_epoch;", "max_epochs"]),
        (["--checkpoint.every_n_epoch", "3"], ["no key checkpoint.every_n_epoch;", "every_n_epochs"]),
        (
            ["--model.init_args.betta", "3"],
            ["no key model.init_args.betta of SRAEModule", "did you mean training.beta"],
        ),
        (["--model.init_args.training.betta", "3"], ["no key model.init_args.training.betta", "did you mean beta"]),
        (
            ["--model.init_args.beta", "3"],
            ["no key model.init_args.beta of", "it is model.init_args.training.beta now"],
        ),
        (["--model.init_args.x_features", "3"], ["it is model.init_args.srae.num_features now"]),
        (["--model.init_args.lr", "3"], ["it is model.init_args.optimizer.init_args.lr now"]),
        (["--model.init_args.backbone.nam", "x"], ["no key model.init_args.backbone.nam", "did you mean name?"]),
        (["--model.init_args.backbone", "{nam: x}"], ["no key model.init_args.backbone.nam", "did you mean name?"]),
        (["--data.init_args.batch_sise", "3"], ["no key data.init_args.batch_sise", "did you mean loading.batch_size"]),
        (["--data.init_args.batch_size", "3"], ["it is data.init_args.loading.batch_size now"]),
        (["--data.init_args.feature_cache", "x"], ["it is data.init_args.features.folder now"]),
        (
            ["--data.init_args.loading.batch_sise", "3"],
            ["data.init_args.loading.batch_sise", "did you mean batch_size"],
        ),
        (["--data.init_args.loading.batch_size", "0"], ["data.init_args.loading.batch_size is 0; give 1 or more"]),
        (["--data.init_args.loading.val_fraction", "0.7"], ["data.init_args.loading.val_fraction is 0.7"]),
        (
            ["--trainer.logger", "CSVLogger", "--trainer.logger.init_args.save_dirr", "x"],
            ["no key trainer.logger", "CSVLogger", "save_dir?"],
        ),
        (["--nothing"], ["no key nothing"]),
        (["stray"], ["stray"]),
        (
            ["--model", "SRAEModul"],
            ["model: ", "no class named 'SRAEModul'; did you mean SRAEModule or "],
        ),
        (["--model", "lightning_modules.SRAE"], ["model: ", "no class named 'lightning_modules.SRAE'"]),
        (["--data", "FlowrDataModule"], ["data: ", "no class named 'FlowrDataModule'; did you mean FlowerDataModule"]),
        (["--data", "configs/data/flow.yaml"], ["data: there is no file or class named 'configs/data/flow.yaml'"]),
        (["--trainer.callbacks+=HeatmapPanl"], ["trainer.callbacks: ", "'HeatmapPanl'; did you mean HeatmapPanel?"]),
        (["-c", "configs/nowhere.yaml"], ["config: File does not exist", "configs/nowhere.yaml"]),
        (["--model.init_args.training.beta", "${no_such_key}"], ["training.beta: ", "'no_such_key'"]),
        (["--model.init_args.backbone.name", "resnet17"], ["'resnet17'", "resnet18"]),
        (["--model.init_args.backbone.name", "os:system"], ["'os:system' is a", "no class of torch's Module"]),
        (["--model.init_args.backbone.weights", "nowhere.pth"], ["nowhere.pth does not exist"]),
        (["--model.init_args.srae.layer", "featurs"], ["'featurs'", "features"]),
        (["--data.init_args.shards", "nowhere"], ["nowhere holds no shards"]),
        (["--model.init_args.training.q", "-1"], ["model.init_args.training.q is -1", "give a number above 0"]),
        (["--model.init_args.training.eta", ".nan"], ["model.init_args.training.eta is nan", "give 0 or more"]),
        (["--model.init_args.optimizer.init_args.lr", ".inf"], ["optimizer.init_args.lr is inf", "give 0 or more"]),
        (["--model.init_args.optimizer", "null"], ["model.init_args.optimizer is null", "torch.optim.Adam"]),
        (["--model.init_args.srae.num_features", "-1"], ["model.init_args.srae.num_features is -1; give 1 or more"]),
        (["--model.init_args.srae.image_size", "2"], ["image_size 2 pixels"]),
        (
            ["--model.init_args.srae.pooling=positions", "--model.init_args.srae.image_size=64"],
            ["model.init_args.srae.image_size is 64, data.init_args.preprocessing.size is 80; give the same"],
        ),
        (
            ["--model.init_args.srae.trunk=shared", "--model.init_args.training.classes_at_once=2"],
            ["model.init_args.training.classes_at_once is 2; give null", "srae.trunk is shared"],
        ),
        (["--model.init_args.training.pretraining_epochs", "99"], ["pretraining_epochs 99", "trainer.max_epochs 200"]),
        (["--model.init_args.training.classes_at_once=2", "--trainer.max_steps=3"], ["leave trainer.max_steps out"]),
        (["--model.init_args.names", "nowhere.yaml"], ["names nowhere.yaml does not exist"]),
        (["--model.init_args.init_from", "nowhere"], ["nowhere/explainer.json does not exist"]),
        (["--trainer.callbacks+=RestartDeadHeads"], ["`RestartDeadHeads`; give it once"]),
        (
            ["--trainer.callbacks+=ContactSheets", "--trainer.callbacks.init_args.num_images=0"],
            ["init_args.num_images is 0; give 1 or more"],
        ),
        (["--checkpoint.every_n_epochs", "0"], ["checkpoint.every_n_epochs is 0"]),
        (["--trainer.accelerator", "gpuu"], ["'gpuu'", "cpu"]),
        (["--trainer.strategy", "nonsense"], ["'nonsense'", "ddp"]),
        (["--trainer.devices", "x"], ["`devices`", "int > 0"]),
    ],
    ids=lambda value: " ".join(value)[:50],
)
def test_a_user_error_is_one_sentence(
    args: list[str], parts: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, *QUICKSTART, *args)
    for part in parts:
        assert part in told
    assert "<class" not in told
    assert "Namespace" not in told
    assert len(told) < 500


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("trainer: {max_epochz: 3}", ["no key trainer.max_epochz;", "max_epochs"]),
        ("model: {init_args: {training: {beta: fast}}}", ["init_args.training.beta is 'fast'", "give a number"]),
        ("model: {init_args: {betta: 1}}", ["no key model.init_args.betta of SRAEModule", "beta"]),
        (
            "model: {class_path: SRAEModul}",
            ["no class named 'SRAEModul'; did you mean SRAEModule or "],
        ),
        ("data: nowhere.yaml", ["data: there is no file 'nowhere.yaml' in /", "/configs"]),
        ("trainer: [1, 2\n", ["mine.yaml is not a YAML file of keys and values"]),
        ("hello", ["mine.yaml is not a YAML file of keys and values"]),
    ],
)
def test_an_error_in_a_file_is_one_sentence(
    text: str, parts: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "mine.yaml").write_text(text)
    told = refusal(capsys, *QUICKSTART, "-c", "mine.yaml")
    for part in parts:
        assert part in told


@pytest.mark.parametrize("option", [["--model.init_args.betta", "3"], ["--model.init_args.training.q", "-1"]])
def test_a_process_ends_with_the_sentence_and_code_2(option: list[str], workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *QUICKSTART, *option], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert option[0].rpartition(".")[2] in the_error(done.stderr)


def test_a_traceback_can_be_asked_for(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"checkpoint\.every_n_epochs is 0"):
        run(*QUICKSTART, "--checkpoint.every_n_epochs", "0")


def test_testing_without_training_is_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(capsys, "test", "-c", "configs/quickstart.yaml")
    assert "runs/quickstart/checkpoints/last.ckpt does not exist; run 'fit' first" in told


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--model.init_args.mu_lasso.mu=0"], ["model.init_args.mu_lasso.mu is 0", "give a number above 0"]),
        (["--model.init_args.training.solver=lars"], ["training.solver is 'lars'", "give 'exact' or 'sgd'"]),
        (["--model.init_args.mu_lasso.scaling=z"], ["init_args.mu_lasso.scaling is 'z'", "'standardized'"]),
        (
            ["--model.init_args.optimizer=SGD", "--model.init_args.optimizer.init_args.lr=0"],
            ["model.init_args.optimizer.init_args.lr is 0", "give a number above 0"],
        ),
        (["--model.init_args.lr_scheduler=Linear"], ["lr_scheduler", "Linear"]),
        (["--model.init_args.mu_lasso.layers=[featurs.0]"], ["no layer 'featurs.0'", "features.0"]),
        (["--data.init_args.loading.augment=true"], ["loading.augment: false", "model.init_args.training.solver: sgd"]),
        (["--model.init_args.init_from=nowhere"], ["nowhere/explainer.json does not exist"]),
        (
            ["--model.init_args.backbone={name: squeezenet1_1, weights: null, num_classes: 4}"],
            ["The data set has 6 classes, but the backbone has 4 logits"],
        ),
    ],
    ids=lambda value: " ".join(value)[:50],
)
def test_a_user_error_with_the_mu_lasso_is_one_sentence(
    args: list[str], parts: list[str], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "fit", "-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *args)
    for part in parts:
        assert part in told
    assert not (workplace / "data" / "features").exists()


def test_a_checkpoint_of_other_heads_is_one_sentence(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_quickstart()
    for command, option, part in (
        ("test", "srae.trunk=shared", "holds other heads than this SRAEModule"),
        ("test", "training.objective=nn", "was trained with objective: srae, not nn"),
        ("test", "srae.explained_classes=[0]", "was trained with explained_classes: [0, 1, 2, 3, 4, 5], not [0]"),
        ("fit", "srae.num_features=3", "holds other heads than this SRAEModule"),
        ("fit", "training.classes_at_once=2", "go on from it with model.init_args.training.classes_at_once: null"),
    ):
        args = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, f"--model.init_args.{option}"]
        told = refusal(capsys, command, *args, "--ckpt_path", "runs/quickstart/checkpoints/last.ckpt")
        assert f"runs/quickstart/checkpoints/last.ckpt {part}" in told.replace(
            "is of a fit with other groups of classes; ", ""
        )
    folder = "--model.init_args.init_from=runs/quickstart/explainer"
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, folder, "--model.init_args.srae.trunk=shared")
    assert "init_from runs/quickstart/explainer: the saved heads do not fit: trunk is separate, not shared" in told


def test_inpainting_without_opencv_is_told_before_the_run(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, "--trainer.callbacks+=MaskedClassification")
    assert "pip install 'vitrine[inpainting]'; or give fill: black" in told


def test_a_backbone_of_other_classes_than_the_data_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(
        capsys, "fit", "-c", "configs/folder_srae.yaml", *SMALL, *SMALL_IMAGES, *SMALL_SRAE,
        "--model.init_args.backbone={name: mobilenet_v2, weights: null, num_classes: 6}",
        "--model.init_args.srae.layer=features",
    )  # fmt: skip
    assert "The data set has 2 classes, but the backbone has 6 logits" in told


class Code:
    """What runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def tampered(path: Path, **entries: Any) -> Path:
    """The quickstart's checkpoint with other entries."""
    torch.save({**torch.load("runs/quickstart/checkpoints/last.ckpt"), **entries}, path)
    return path


def test_what_is_no_checkpoint_of_the_run_is_one_sentence(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_quickstart()
    state = torch.load("runs/quickstart/checkpoints/last.ckpt")["state_dict"]
    name = "explainer.heads.0.encoder.0.weight"
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"state_dict": {"net.weight": torch.zeros(2)}},
            "'explainer.backbone._extra_state' stands in the module alone",
        ),
        (
            {"state_dict": {**state, name: torch.full_like(state[name], torch.nan)}},
            f"holds NaN or infinity in '{name}'",
        ),
        ({"state_dict": {**state, name: state[name].int()}}, "holds int32"),
        ({"optimizer_states": [{}]}, "does not go with this run (KeyError"),
        ({"loops": {"fit_loop": {}}}, "no entry 'loops.fit_loop.epoch_progress'"),
        ({"meaning_of_heads": "x"}, "does not go with this run"),
        ({"callbacks": Code()}, "holds more than tensors and plain values"),
    ]
    for number, (entries, told) in enumerate(cases):
        path = tampered(workplace / f"{number}.ckpt", **entries)
        for command in ("fit", "test"):
            if command == "test" and ("optimizer_states" in entries or "loops" in entries):
                continue  # which a test does not read, or in which it finds something else
            args = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, f"--trainer.default_root_dir=runs/{number}"]
            message = refusal(capsys, command, *args, "--trainer.max_epochs=3", f"--ckpt_path={path}")
            assert str(path) in message
            assert told in message
            assert not (workplace / "runs" / str(number) / "checkpoints").exists()
    assert not (workplace / "unpickled").exists()


def test_a_second_data_set_is_not_taken_for_the_first(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-c", "configs/folder_classifier.yaml", *SMALL, *SMALL_IMAGES, "--trainer.max_epochs=1"]
    options += ["--model.init_args.backbone={name: 'tests.helpers.own_network:OwnNetwork', weights: null}"]
    run("fit", *options, "--trainer.default_root_dir=runs/first")
    write_picture(workplace / "other" / "train" / "wasp" / "a.png")
    for root in ("other", "nowhere"):
        told = refusal(
            capsys, "fit", *options, f"--trainer.default_root_dir=runs/{root}", f"--data.init_args.root={root}"
        )
        assert "data.init_args.shards: data/folder/train was made from" in told
        assert f"not from {root}" in told


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "runs/quickstart/logs"),
        PermissionError(13, "Permission denied", "runs"),
        IsADirectoryError(21, "Is a directory", "classifier.safetensors"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    error: OSError, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pl.Trainer, "fit", fail)
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE)
    assert str(error.strerror) in told
    assert str(error.filename) in told
