"""The command line: errors are one sentence with exit code 2, its traps stay shut, every shipped config runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

import train
import vitrine
from lightning_modules import InversionModule, MuLassoModule, SelectedFeaturesModule, SRAEModule
from lightning_modules.base import ExplainerModule
from tests.helpers import image_sets as sets
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.an8flower.network import FlowerNet
from vitrine.explainers import Explainer
from vitrine.explainers.base import Target

ROOT = Path(__file__).parents[1]
SMALL = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=1",
    "--data.init_args.loading.num_workers=0", "--data.init_args.loading.batch_size=4",
]  # fmt: skip
SMALL_SRAE = [f"--model.init_args.srae.{option}" for option in ("hidden=[8]", "num_features=2", "image_size=64")]


def run(*args: str) -> train.TrainCLI:
    return train.main(list(args))


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one sentence with which the command line refuses."""
    with pytest.raises(SystemExit) as stopped:
        run(*args)
    assert stopped.value.code == 2
    return the_error(capsys.readouterr().err)


def the_error(stderr: str) -> str:
    """The one line of standard error that tells of the error."""
    assert "Traceback" not in stderr
    (told,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert stderr.rstrip().endswith(told)
    return told


QUICKSTART = ["fit", "-c", "configs/quickstart.yaml"]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--trainer.max_epochs", "many"], ["trainer.max_epochs is 'many'", "give a whole number or null"]),
        (["--model.init_args.training.beta", "fast"], ["model.init_args.training.beta is 'fast'", "give a number"]),
        (["--model.init_args.srae.hidden", "[a]"], ["model.init_args.srae.hidden is 'a'", "give a whole number"]),
        (["--model.init_args.srae.explained_classes", "red"], ["explained_classes is 'red'", "give a list or null"]),
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
        (["--trainer.logger.init_args.save_dirr", "x"], ["no key trainer.logger", "CSVLogger", "save_dir?"]),
        (["--nothing"], ["no key nothing"]),
        (["stray"], ["stray"]),
        (["--model", "SRAEModul"], ["model: ", "no class named 'SRAEModul'; did you mean SRAEModule?"]),
        (["--model", "lightning_modules.SRAE"], ["model: ", "no class named 'lightning_modules.SRAE'"]),
        (["--data", "FlowrDataModule"], ["data: ", "no class named 'FlowrDataModule'; did you mean FlowerDataModule"]),
        (["--data", "configs/data/flow.yaml"], ["data: there is no file or class named 'configs/data/flow.yaml'"]),
        (["--trainer.callbacks+=HeatmapPanl"], ["trainer.callbacks: ", "'HeatmapPanl'; did you mean HeatmapPanel?"]),
        (["-c", "configs/nowhere.yaml"], ["config: File does not exist", "configs/nowhere.yaml"]),
        (["--model.init_args.training.beta", "${no_such_key}"], ["training.beta: ", "'no_such_key'"]),
        (["--model.init_args.backbone.name", "resnet17"], ["'resnet17'", "resnet18"]),
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
        ("model: {class_path: SRAEModul}", ["no class named 'SRAEModul'; did you mean SRAEModule?"]),
        ("data: nowhere.yaml", ["no file or class named 'nowhere.yaml'"]),
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


def fit_quickstart(*args: str) -> train.TrainCLI:
    return run(*QUICKSTART, *SMALL, *SMALL_SRAE, *args)


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
    assert {path.name for path in (folder / "explainer").iterdir()} >= {"explainer.json", "explainer.safetensors"}
    assert vitrine.load(folder / "explainer").classes
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    pictures = list((folder / "predictions").rglob("*_x-feature-*.png"))
    assert len(pictures) == 4 * 2
    for stage in ("fit", "validate", "test", "predict"):
        assert yaml.safe_load((folder / f"config-{stage}.yaml").read_text())["model"]["class_path"]


def test_a_mu_lasso_run_from_fit_to_predict(
    workplace: Path, class_folder: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """On the trained network that the repository holds; what a run leaves beside the explainer."""
    config = ["-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *SMALL_MODELS["MuLassoModule"]]
    fitted = run("fit", *config)
    assert not [warning for warning in recwarn if "returned `None`" in str(warning.message)]
    assert fitted.trainer.callback_metrics["val/reconstruction_auc"] > 0.5
    validated = run("validate", *config).trainer.callback_metrics
    assert validated["val/reconstruction_auc"] == fitted.trainer.callback_metrics["val/reconstruction_auc"]
    run("test", *config)
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    assert "Traceback" not in capsys.readouterr().err
    folder = workplace / "runs" / "flower_mu_lasso"
    metrics = json.loads((folder / "metrics.json").read_text())
    promised = {"reconstruction_auc", "iou", "pointing_game", "ablation/selected", "ablation/random"}
    assert {f"test/{name}" for name in promised} <= set(metrics)
    assert not any("f_reg" in name for name in metrics)
    left = {"relevance.csv", "relevance.json", "picks.csv", "ablation.csv", "average_images", "report", "predictions"}
    assert left <= {path.name for path in folder.iterdir()}
    loaded = vitrine.load(folder / "explainer")
    metadata = json.loads((folder / "explainer" / "explainer.json").read_text())["metadata"]
    assert metadata["solver"] == "exact"
    assert metadata["largest_relative_gap"] <= 1e-6
    assert metadata["filters"] == len(loaded.relevant_filters()) > 0  # type: ignore[operator]
    assert torch.equal(loaded.weights, fitted.model.explainer.weights.cpu())  # type: ignore[arg-type]
    lines = (folder / "predictions" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert {"label_1", "score_1", "label_2", "score_2"} <= set(lines[0].split(","))


def test_a_fitted_mu_lasso_is_fine_tuned_by_steps(workplace: Path) -> None:
    config = ["-c", "configs/flower_mu_lasso.yaml", *SMALL, *SMALL_IMAGES, *SMALL_MODELS["MuLassoModule"]]
    callbacks = ["--trainer.callbacks=[]"]
    exact = run("fit", *config).model.explainer
    steps = ["--model.init_args.training.solver=sgd", "--model.init_args.init_from=runs/flower_mu_lasso/explainer"]
    again = "--trainer.default_root_dir=runs/tuned"
    tuned = run(
        "fit",
        *config,
        *callbacks,
        *steps,
        again,
        "--model.init_args.optimizer=SGD",
        "--model.init_args.optimizer.init_args.lr=1e-6",
    ).model.explainer
    torch.testing.assert_close(tuned.weights, exact.weights, atol=1e-4, rtol=0)
    for name in ("scaling.shift", "scaling.factor", "intercept"):
        assert torch.equal(tuned.head_state()[name], exact.head_state()[name])


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
            ["labels of 6 classes, but the backbone has 4 logits"],
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


def test_predicting_needs_no_shards(workplace: Path, class_folder: Path) -> None:
    """Where only the run's folder and some pictures are at hand."""
    fit_quickstart()
    (workplace / "data" / "an8flower-small").unlink()
    config = ["-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE]
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    rows = (workplace / "runs" / "quickstart" / "predictions" / "predictions.csv").read_text().splitlines()[1:]
    known = set(vitrine.load(workplace / "runs" / "quickstart" / "explainer").classes)
    assert {row.split(",")[2] for row in rows} <= known


def test_a_second_run_in_the_same_folder_works(workplace: Path) -> None:
    fit_quickstart()
    fit_quickstart("--model.init_args.training.beta", "0.5")
    saved = yaml.safe_load((workplace / "runs" / "quickstart" / "config-fit.yaml").read_text())
    assert saved["model"]["init_args"]["training"]["beta"] == 0.5


def test_a_saved_config_repeats_the_run(workplace: Path) -> None:
    first = fit_quickstart()
    again = run("fit", "-c", "runs/quickstart/config-fit.yaml")
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
    whole = fit_quickstart("--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null")
    fit_quickstart("--trainer.max_epochs", "2", "--model.init_args.lr_scheduler", "null")
    resumed = fit_quickstart(
        "--trainer.max_epochs", "4", "--model.init_args.lr_scheduler", "null",
        "--ckpt_path", "runs/quickstart/checkpoints/last.ckpt",
    )  # fmt: skip
    for one, two in zip(whole.model.explainer.parameters(), resumed.model.explainer.parameters(), strict=True):
        assert torch.equal(one, two)


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


RUNNABLE = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


SMALL_IMAGES = ["--data.init_args.preprocessing.size=64", "--data.init_args.preprocessing.resize=64"]


@pytest.fixture
def weights(workplace: Path) -> Path:
    """Stand-ins for the weights that the configs take from elsewhere."""
    torch.manual_seed(0)
    for run, network, classes in (
        ("cub_mobilenet_classifier", torchvision.models.mobilenet_v2, 6),
        ("cub_squeezenet_classifier", torchvision.models.squeezenet1_0, 6),
        ("folder_classifier", torchvision.models.resnet18, 2),
        ("voc_vgg19_classifier", ThinVGG19, 20),
    ):
        state = network(num_classes=classes).state_dict()
        path = workplace / "runs" / run / "classifier.safetensors"
        path.parent.mkdir(parents=True)
        save_file(state, path, metadata={"num_classes": str(classes)})
    return workplace


@pytest.fixture(scope="session")
def image_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet and Tiny ImageNet with three classes, three among a thousand names of classes, and MSRA-B."""
    folder = tmp_path_factory.mktemp("sets")
    sets.write_imagenet(folder / "ImageNet", per_class=4)
    sets.write_tiny_imagenet(folder / "tiny-imagenet-200", per_class=4)
    sets.write_saliency(folder / "MSRA-B", count=5)
    others = [f"n{number:08d}" for number in range(1000 - len(sets.WNIDS))]
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in [*others, *sets.WNIDS]))
    return folder


@pytest.fixture
def workplace(workplace: Path, image_sets: Path) -> Path:
    """With what the files in configs/data name."""
    for path in image_sets.iterdir():
        (workplace / "data" / path.name).symlink_to(path)
    return workplace


LOOKING = [
    "--trainer.callbacks+=DropDeadFeatures", "--trainer.callbacks+=MaskedClassification",
    "--trainer.callbacks.init_args.fill=black",
]  # fmt: skip
FEW_STEPS = [
    "--model.init_args.inversion.image_size=64", "--model.init_args.inversion.overrides.inversion_steps=1",
    "--model.init_args.inversion.overrides.class_steps=2",
]  # fmt: skip
SMALL_MODELS = {
    "SRAEModule": SMALL_SRAE,
    "MuLassoModule": ["--model.init_args.mu_lasso.num_heatmaps=2", "--model.init_args.mu_lasso.image_size=64"],
    "InversionModule": [*FEW_STEPS, "--model.init_args.inversion.predictor=4"],
}


class ThinVGG19(nn.Sequential):
    """VGG-19 with few channels: the whole one's checkpoints are 560 MB each."""

    def __init__(self, num_classes: int = 1000) -> None:
        widths = [width if width == "M" else int(width) // 32 for width in cfgs["E"]]
        hidden = [nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Dropout()]
        logits = nn.Linear(32, num_classes)
        super().__init__(make_layers(widths), nn.AdaptiveAvgPool2d(7), nn.Flatten(), *hidden, logits)


THIN_BACKBONE = [f"--model.init_args.backbone.name={__name__}:ThinVGG19"]
STAND_INS = {
    "voc_vgg19_classifier.yaml": THIN_BACKBONE,
    "voc_vgg19_inversion.yaml": THIN_BACKBONE,
    "imagenet_vgg19_inversion.yaml": [
        *THIN_BACKBONE, "--model.init_args.inversion.inversion_layer=0.36",
        "--model.init_args.inversion.mask_layers=['0.35']",
    ],
    "tiny_imagenet_mobilenet_inversion.yaml": ["--data.init_args.wnids=data/wnids.txt"],
}  # fmt: skip


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_shipped_config_runs(name: str, weights: Path) -> None:
    config = yaml.safe_load((ROOT / "configs" / name).read_text())
    backbone = config["model"]["init_args"]["backbone"]
    args = ["-c", f"configs/{name}", *SMALL, *SMALL_IMAGES, *SMALL_MODELS.get(config["model"]["class_path"], [])]
    if backbone.get("weights") in {"DEFAULT", "data/places_vgg16.pth"}:  # no download in tests, nor 540 MB written
        args += ["--model.init_args.backbone.weights=null"]
    fit_and_test(*args, *STAND_INS.get(name, []))


def test_masks_are_optimised_without_a_fit(
    weights: Path, class_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Section 4.3 of Du et al.: every class of every image; what a run from test to predict leaves."""
    config = ["-c", "configs/voc_vgg19_inversion.yaml", *SMALL, *SMALL_IMAGES, *THIN_BACKBONE, *FEW_STEPS]
    assert "nothing to fit" in refusal(capsys, "fit", *config)
    validated = run("validate", *config, "--data.init_args.loading.val_fraction=0.5").trainer.callback_metrics
    assert validated["val/inversion/steps"] == 3
    cli = run("test", *config)
    assert isinstance(cli.model, InversionModule)
    assert cli.model.explainer.settings.class_penalty == 10
    run("predict", *config, "--data.init_args.predict_root", str(class_folder / "test"))
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    counted = ("pointing_game/hits", "pointing_game/misses", "pointing_game/degenerate", "pointing_game/skipped")
    # Of five images, three show two classes, and one none, for which what is predicted is explained.
    assert sum(metrics[f"test/{name}"] for name in counted) == 8
    assert metrics["test/pointing_game/skipped"] == 1
    assert {
        "test/inversion/not_converged",
        "test/inversion/degenerate",
        "test/inversion/steps",
        "test/inversion/loss",
    } <= set(metrics)
    assert (folder / "report" / "index.html").is_file()
    assert len((folder / "predictions" / "predictions.csv").read_text().splitlines()) == 1 + 4
    assert not (folder / "checkpoints").exists()


def test_a_fitted_predictor_is_where_masks_begin(workplace: Path) -> None:
    """Without steps they are its answer, which the panels show."""
    args = ["--model=configs/model/inversion.yaml", "--data=configs/data/flower.yaml", *SMALL, *FEW_STEPS]
    flower = "{name: vitrine.data.an8flower.network:FlowerNet, weights: vitrine/data/an8flower/flower_net.safetensors}"
    args += [f"--model.init_args.backbone={flower}", "--model.init_args.inversion.predictor=8"]
    args += ["--model.init_args.optimizer=Adam", "--model.init_args.optimizer.init_args.lr=0.01"]
    fitted = run("fit", *args, "--trainer.callbacks+=HeatmapPanel").model.explainer
    folder = workplace / "runs" / "unnamed"
    assert len(list((folder / "panels").iterdir())) == 2
    no_steps = ["--model.init_args.inversion.overrides={inversion_steps: 0, class_steps: 0}"]
    tested = run("test", *args, *no_steps).model.explainer
    assert all(torch.equal(value, tested.head_state()[name]) for name, value in fitted.head_state().items())
    assert json.loads((folder / "metrics.json").read_text())["test/inversion/steps"] == 0
    loaded = vitrine.load(folder / "explainer")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.explain(image).heatmaps, fitted.explain(image).heatmaps)


def test_masks_are_tested_on_images_without_classes(workplace: Path) -> None:
    model = ["--model=configs/model/inversion.yaml", "--model.init_args.runs.explain=label", *FEW_STEPS]
    data = ["--data=configs/data/saliency.yaml", *SMALL, *SMALL_IMAGES, "--model.init_args.backbone.weights=null"]
    cli = run("test", *model, *data)
    metrics = json.loads((Path(cli.trainer.default_root_dir) / "metrics.json").read_text())
    assert 0 < metrics["test/iou"] < 100


def test_the_papers_classifier_for_voc(workplace: Path) -> None:
    """Section 4.3 of Du et al.: VGG-19 with 20 new outputs, of which alone Adam changes anything."""
    name = "voc_vgg19_classifier.yaml"
    config = yaml.safe_load((ROOT / "configs" / name).read_text())
    assert config["model"]["init_args"]["backbone"] == {"name": "vgg19", "weights": "DEFAULT"}
    assert config["data"]["init_args"]["loading"]["batch_size"] == 64
    small = [*SMALL, *SMALL_IMAGES, *STAND_INS[name], "--model.init_args.backbone.weights=null"]
    cli = run("fit", "-c", f"configs/{name}", *small)
    trained = [name for name, parameter in cli.model.network.named_parameters() if parameter.requires_grad]
    assert trained == ["9.weight", "9.bias"]
    assert cli.model.network[9].out_features == 20
    (group,) = cli.trainer.optimizers[0].param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-4, 0, (0.9, 0.999))
    assert cli.trainer.lr_scheduler_configs == []


def fit_and_test(*args: str) -> Path:
    """Runs both; returns the run's folder."""
    cli = run("fit", *args)
    once = isinstance(cli.model, MuLassoModule | SelectedFeaturesModule)
    groups = cli.model.groups.count if isinstance(cli.model, SRAEModule) else 1
    assert cli.trainer.current_epoch == (1 if once else groups * (cli.trainer.max_epochs or 0))
    assert run("test", *args).trainer.ckpt_path
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(name.startswith("test/") for name in metrics)
    assert {"test/f_reg", "test/accuracy", "test/reconstruction_auc", "test/inversion/not_converged"} & set(metrics)
    return folder


WITHOUT_TRAINING_IMAGES = {"saliency.yaml"}
FITTED = {path.name for path in (ROOT / "configs" / "data").glob("*.yaml")} - WITHOUT_TRAINING_IMAGES


@pytest.mark.parametrize("data", sorted(FITTED))
@pytest.mark.parametrize("model", sorted(path.name for path in (ROOT / "configs" / "model").glob("*.yaml")))
def test_every_model_file_goes_with_every_data_file(model: str, data: str, workplace: Path) -> None:
    counts = {"folder.yaml": 2, "imagenet.yaml": 3, "places.yaml": 365, "tiny_imagenet.yaml": 3, "voc.yaml": 20}
    classes = counts.get(data, 6)
    kind = yaml.safe_load((ROOT / "configs" / "model" / model).read_text())["class_path"]
    fit_and_test(
        "--model", f"configs/model/{model}", "--data", f"configs/data/{data}", *SMALL, *SMALL_IMAGES,
        "--model.init_args.backbone.weights=null", f"--model.init_args.backbone.num_classes={classes}",
        *SMALL_MODELS.get(kind, []), "--trainer.max_epochs=1",
    )  # fmt: skip


class Brightness(Explainer):
    """A map of the images' own brightness, for whatever the backbone predicts."""

    def explain_batch(self, images: Tensor, target: Target) -> Explanation:  # noqa: ARG002
        logits = self.backbone.model(images)
        classes = logits.argmax(dim=1)
        labels = [["brightness"]] * len(images)
        return Explanation(
            images.mean(dim=1, keepdim=True), torch.ones(len(images), 1), labels, classes, classes, logits
        )


class BrightnessModule(ExplainerModule):
    """Needs no training."""

    def __init__(self) -> None:
        super().__init__(Brightness(FrozenBackbone(FlowerNet())))
        self.needs_checkpoint = False


def test_images_without_classes_are_tested_by_their_masks(workplace: Path) -> None:
    data = ["--data", "configs/data/saliency.yaml", *SMALL, *SMALL_IMAGES]
    cli = run("test", "--model", f"{__name__}.BrightnessModule", *data)
    metrics = json.loads((Path(cli.trainer.default_root_dir) / "metrics.json").read_text())
    assert 0 < metrics["test/iou"] < 100
    assert metrics["test/energy_in_mask/skipped"] == 0
    assert metrics["test/energy_in_mask/area"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "configs" / "trainer").glob("*.yaml")))
def test_every_overlay_goes_on_top_of_the_quickstart(
    overlay: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device; two are tried with the callbacks."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fresh = [f"--trainer.default_root_dir={workplace}/run"]  # absolute for W&B's own process, which outlives a test
    folder = fit_and_test(
        "-c", "configs/quickstart.yaml", "-c", f"configs/trainer/{overlay}", *SMALL, *SMALL_SRAE, *fresh
    )
    left = {"wandb.yaml": "wandb", "tensorboard.yaml": "logs/version_0"}.get(overlay, "config-fit.yaml")
    assert (folder / left).exists()
    assert {path.name for path in workplace.iterdir()} <= {"configs", "vitrine", "data", "run"}


@pytest.mark.parametrize(
    "options",
    [
        ["--model.init_args.training.objective=nn"],
        ["--model.init_args.training.objective=sae", "--model.init_args.training.classes_at_once=4"],
        ["--model.init_args.training.objective=cae", "--model.init_args.srae.trunk=shared"],
        [
            "--model.init_args.srae.pooling=positions",
            "--data.init_args.sampling.positives_per_class=2",
            *SMALL_IMAGES,
            *LOOKING,
        ],
    ],
    ids=" ".join,
)
def test_what_the_srae_is_compared_with_runs(options: list[str], workplace: Path) -> None:
    """And is not taken for something else."""
    folder = fit_and_test("-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, *options)
    assert (folder / "masked" / "examples.png").is_file() == (LOOKING[0] in options)
    loaded = vitrine.load(folder / "explainer")
    names = {name: ["first", ""] for name in loaded.classes}
    (folder / "explainer" / "names.yaml").write_text(yaml.safe_dump(names))
    run("test", "-c", "configs/quickstart.yaml", *SMALL, *SMALL_SRAE, *options)
    assert "first" in (folder / "report" / "index.html").read_text()


SELECTION = ["-c", "configs/quickstart.yaml", "--model=SelectedFeaturesModule", *SMALL]
"""The baselines that choose dimensions of Z, with the layer and backbone of an SRAE's configuration."""


def test_dimensions_that_a_lasso_selects(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_and_test(*SELECTION, "--model.init_args.selection.alpha=0.1")
    assert "val/f_reg" in run("validate", *SELECTION).trainer.callback_metrics
    told = refusal(capsys, "test", *SELECTION, "--model.init_args.selection.kind=random")
    assert "was trained with kind: lasso, not random; set model.init_args.selection.kind: lasso" in told


@pytest.mark.parametrize("options", [["random"], ["logit", "--model.init_args.srae.layer=classifier"]], ids=" ".join)
def test_dimensions_that_need_no_fit(options: list[str], workplace: Path) -> None:
    run("test", *SELECTION, f"--model.init_args.selection.kind={options[0]}", *options[1:])
    metrics = json.loads((workplace / "runs" / "quickstart" / "metrics.json").read_text())
    assert metrics["test/pointing_game"] >= 0
    assert metrics.get("test/f_reg", 0) == pytest.approx(0, abs=1e-4)


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
    assert "class 5 is to be explained, but the data set has 2 classes" in told


class NeedsGradients(SRAEModule):
    """Takes a gradient in every step."""

    def slope(self) -> float:
        weight = next(self.explainer.parameters())
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((weight * weight).sum(), weight)
        return float(gradient.abs().sum())

    def validation_step(self, batch: Batch) -> None:
        self.log("val/slope", self.slope(), batch_size=len(batch["label"]))

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]
        self.log("test/slope", self.slope(), batch_size=len(batch["label"]))
        return super().test_step(batch)

    def predict_step(self, batch: Batch) -> Explanation:
        assert self.slope() > 0
        return super().predict_step(batch)


def test_gradients_can_be_taken_in_every_command(workplace: Path, class_folder: Path) -> None:
    """Whatever trainer.inference_mode says."""
    model = ["--model", f"{__name__}.NeedsGradients"]
    args = [*QUICKSTART[1:], *model, *SMALL, *SMALL_SRAE, "--trainer.inference_mode=true"]
    assert run("fit", *args).trainer.callback_metrics["val/slope"] > 0
    assert run("validate", *args).trainer.callback_metrics["val/slope"] > 0
    assert run("test", *args).trainer.callback_metrics["test/slope"] > 0
    run("predict", *args, "--data.init_args.predict_root", str(class_folder / "test"))


def test_the_quickstarts_network_is_as_accurate_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the very set that the quickstart renders."""
    from vitrine.data.an8flower.cli import main as an8flower

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "vitrine").symlink_to(ROOT / "vitrine")
    options = "--views 20 --size 96 --crops 2 --rotations 2 --crop-size 80"
    assert options.split()[1] in (ROOT / "Makefile").read_text()
    assert an8flower(["--variant", "single-6c", "--out", "data/an8flower-small", *options.split()]) == 0
    weights = ROOT / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"
    assert weights.stat().st_size <= 1_000_000
    run(
        "test", "-c", "configs/flower_classifier.yaml", "--model.init_args.backbone.weights", str(weights),
        "--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    accuracy = json.loads((tmp_path / "run" / "metrics.json").read_text())["test/accuracy"]
    claimed = [line for line in (ROOT / "README.md").read_text().splitlines() if "test accuracy" in line]
    assert f"{100 * accuracy:.1f} %" in claimed[0]
    assert sum(parameter.numel() for parameter in FlowerNet().parameters()) < 250_000


@pytest.mark.parametrize("name", ["quickstart.yaml", "flower_mu_lasso.yaml"])
def test_what_was_fitted_is_tested_on_images_without_classes(name: str, workplace: Path) -> None:
    kind = yaml.safe_load((ROOT / "configs" / name).read_text())["model"]["class_path"]
    args = ["-c", f"configs/{name}", *SMALL, *SMALL_IMAGES, *SMALL_MODELS[kind]]
    cli = run("fit", *args)
    data = [
        "--data",
        "SaliencyDataModule",
        "--data.init_args.shards=data/saliency",
        "--data.init_args.root=data/MSRA-B",
    ]
    gallery = ["--trainer.callbacks=[]", "--trainer.callbacks+=ReportGallery"]  # an ablation needs classes
    run("test", *args, *data, *SMALL, *SMALL_IMAGES, *gallery)
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test/energy_in_mask/skipped"] == 0
    assert (folder / "report" / "index.html").read_text().count("<article") == 4
    with pytest.raises(SystemExit) as told:
        run("fit", *args, *data, *SMALL, *SMALL_IMAGES)
    assert told.value.code == 2
