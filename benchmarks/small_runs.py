"""Small runs of ``train.py`` for benchmarks: a rendered flower set, and a configuration of each module."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

import train
import vitrine
from callbacks.stop_signals import StopSignals
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings

IMAGE_SIZE = 64
CLASSES = 6
NETWORK = "vitrine.data.an8flower.network:FlowerNet"
WEIGHTS = Path(vitrine.__file__).parent / "data" / "an8flower" / "flower_net.safetensors"
SRAE = {"layer": "features", "image_size": IMAGE_SIZE, "num_features": 3, "hidden": [16]}
MU_LASSO = {"scaling": "standardized", "mu": 0.5, "image_size": IMAGE_SIZE, "num_heatmaps": 3}
INVERSION = {"image_size": IMAGE_SIZE, "overrides": {"inversion_steps": 1, "class_steps": 3}}

MODULES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "srae": ("SRAEModule", {"srae": SRAE}),
    "srae_shared": ("SRAEModule", {"srae": SRAE | {"trunk": "shared"}}),
    "srae_grouped": ("SRAEModule", {"srae": SRAE, "training": {"classes_at_once": 2}}),
    "cae": ("SRAEModule", {"srae": SRAE, "training": {"objective": "cae"}}),
    "mu_lasso_exact": ("MuLassoModule", {"mu_lasso": MU_LASSO}),
    "mu_lasso_sgd": ("MuLassoModule", {"mu_lasso": MU_LASSO, "training": {"solver": "sgd"}}),
    "inversion": ("InversionModule", {"inversion": INVERSION}),
    "predictor": ("InversionModule", {"inversion": INVERSION | {"predictor": 8}}),
    "selected": ("SelectedFeaturesModule", {"srae": SRAE, "selection": {"kind": "lasso"}}),
    "classifier": ("ClassifierModule", {}),
}
"""Class and options by the name that a benchmark takes."""
WITHOUT_FIT = frozenset({"inversion"})
EXPORTS = ("explainer/explainer.safetensors", "classifier.safetensors")


def small_set(folder: Path, views: int = 10) -> Path:
    """Renders flowers of six classes, four fifths of the views to train on; an earlier set of this size is kept."""
    shards = folder / f"flower-{views}"
    if not (shards / "test").is_dir():
        settings = FlowerSettings(
            "single-6c", views=views, size=IMAGE_SIZE + 8, crops=1, rotations=1, crop_size=IMAGE_SIZE, supersampling=1
        )
        generate(settings, shards, workers=1)
    return shards


def write_config(path: Path, module: str, shards: Path, features: Path, *, epochs: int, stream: bool = False) -> Path:
    """Writes the configuration of a module's run.

    Args:
        path: of the file.
        module: one of `MODULES`.
        shards: of `small_set`.
        features: folder of the feature cache.
        epochs: of the fit.
        stream: whether images are streamed where features could be kept.
    """
    kind, options = MODULES[module]
    data = {
        "shards": str(shards),
        "preprocessing": {"size": IMAGE_SIZE, "resize": None},
        "features": {"folder": str(features), "cache": not stream},
    }
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "check_val_every_n_epoch": 1,
            "enable_progress_bar": False,
        },
        "model": {
            "class_path": kind,
            "init_args": {"backbone": {"name": NETWORK, "weights": str(WEIGHTS)}, **options},
        },
        "data": {"class_path": "FlowerDataModule", "init_args": data},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@contextlib.contextmanager
def extra_callback(callback: pl.Callback, *, alone: bool = False) -> Iterator[None]:
    """Trainers that the command line makes within have this callback too, or this one alone."""
    made = train.TrainCLI.instantiate_trainer

    def with_callback(self: train.TrainCLI, **kwargs: Any) -> pl.Trainer:
        trainer = made(self, **kwargs)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        kept = [
            one for one in callbacks if not alone or isinstance(one, StopSignals)
        ]  # which the command line asks for
        callbacks[:] = [callback, *kept]  # before checkpoints are written
        return trainer

    train.TrainCLI.instantiate_trainer = with_callback  # type: ignore[method-assign]
    try:
        yield
    finally:
        train.TrainCLI.instantiate_trainer = made  # type: ignore[method-assign]


def exported_weights(run_folder: Path) -> dict[str, Tensor]:
    """The tensors that a fit exported; none where it exported nothing."""
    files = [run_folder / name for name in EXPORTS if (run_folder / name).is_file()]
    return load_file(files[0]) if files else {}


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes of tensors: equal for bit-equal weights alone."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(name.encode() + value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
