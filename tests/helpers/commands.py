"""Commands of train.py on small data: options that make them short, what they refuse, and stand-ins for large networks."""

import json
from pathlib import Path

import pytest

import train
from callbacks.run_access import explainers_of
from lightning_modules import MuLassoModule, SelectedFeaturesModule, SRAEModule

ROOT = Path(__file__).parents[2]


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


def fit_quickstart(*args: str) -> train.TrainCLI:
    return run(*QUICKSTART, *SMALL, *SMALL_SRAE, *args)


SMALL_IMAGES = ["--data.init_args.preprocessing.size=64", "--data.init_args.preprocessing.resize=64"]


FEW_STEPS = [
    "--model.init_args.inversion.image_size=64", "--model.init_args.inversion.overrides.inversion_steps=1",
    "--model.init_args.inversion.overrides.class_steps=2",
]  # fmt: skip


SMALL_MODELS = {
    "SRAEModule": SMALL_SRAE,
    "SRAESettingsModule": [*SMALL_SRAE, "--model.init_args.settings={'beta': [1, 5]}"],
    "MuLassoModule": ["--model.init_args.mu_lasso.num_heatmaps=2", "--model.init_args.mu_lasso.image_size=64"],
    "MaskingModule": ["--model.init_args.masking.width=8", "--model.init_args.masking.image_size=64"],
    "InversionModule": [*FEW_STEPS, "--model.init_args.inversion.predictor=4"],
}


UNTRAINED = {"AttributionModule", "ComparisonModule"}
"""Modules without a fit."""


THIN_VGG16, THIN_VGG19 = (
    [f"--model.init_args.backbone.name=tests.helpers.thin_networks:{name}"] for name in ("ThinVGG16", "ThinVGG19")
)


def fit_and_test(*args: str) -> Path:
    """Runs both; returns the run's folder."""
    cli = run("fit", *args, "--overwrite=true")  # where weights stand that another run left
    once = isinstance(cli.model, MuLassoModule | SelectedFeaturesModule)
    groups = cli.model.groups.count if isinstance(cli.model, SRAEModule) else 1
    assert cli.trainer.current_epoch == (1 if once else groups * (cli.trainer.max_epochs or 0))
    assert run("test", *args).trainer.ckpt_path
    folder = Path(cli.trainer.default_root_dir)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(name.startswith("test/") for name in metrics)
    own = {"test/f_reg", "test/accuracy", "test/reconstruction_auc", "test/inversion/not_converged", "test/loss/area"}
    of_several = explainers_of(cli.model)  # whose figures stand below their names
    assert own & {f"test/{name.split('/', 2)[2]}" if of_several else name for name in metrics}
    return folder
