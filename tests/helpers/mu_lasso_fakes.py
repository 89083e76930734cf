"""Modules, data and trainers for the tests of the μ-Lasso, and the same runs in one process or several."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules import FlowerDataModule
from lightning_modules import MuLassoModule
from tests.helpers.flat_options import make_flat
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.options import grouped
from vitrine.data.preprocessing import Preprocessing

FILTERS, CLASSES = 88, 6
"""Of the network below."""
FLOWER_NET = "vitrine.data.an8flower.network:FlowerNet"
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "inference_mode": False,
}


def make_module(**options: Any) -> MuLassoModule:
    """On an untrained network with six classes."""
    torch.manual_seed(0)
    backbone = BackboneOptions(FLOWER_NET, num_classes=CLASSES, arguments={"width": 4})
    settings: dict[str, Any] = {"scaling": "standardized", "mu": 0.3, "num_heatmaps": 2, "image_size": 64}
    return make_flat(MuLassoModule, backbone, **{**settings, **options})


def make_data(shards: Path, folder: Path, **options: Any) -> FlowerDataModule:
    """The small flower set, at 64 pixels."""
    settings = {
        "preprocessing": Preprocessing(64, None),
        "num_workers": 0,
        "batch_size": 16,
        "folder": folder,
        **options,
    }
    return FlowerDataModule(shards, **grouped(FlowerDataModule, settings))


def fit(module: MuLassoModule, data: Any, ckpt_path: Path | None = None, **options: Any) -> pl.Trainer:
    """Fits, silently; ``data`` is a datamodule, or batches as they are."""
    trainer = pl.Trainer(**{"max_epochs": 20, **QUIET, **options})
    if isinstance(data, pl.LightningDataModule):
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    else:
        trainer.fit(module, DataLoader(data, batch_size=None), ckpt_path=ckpt_path)
    return trainer


def random_samples(count: int = 300, seed: int = 0, *, correlated: bool = False) -> tuple[Tensor, Tensor]:
    """(N, m) responses of mean 1, and (N,) labels that some of them tell of; independent, or of a condition number of 10⁶."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    x = 1 + torch.randn(count, FILTERS, generator=generator)
    x[:, :CLASSES] += 2 * torch.nn.functional.one_hot(labels, CLASSES)
    if correlated:
        basis = torch.linalg.qr(torch.randn(FILTERS, FILTERS, generator=generator)).Q
        x = 1 + (x - 1) @ (basis * torch.logspace(0, -3, FILTERS)) @ basis.T
    return x, labels


def make_batches(count: int = 300, size: int = 300, seed: int = 0, *, correlated: bool = False) -> list[Batch]:
    """`random_samples` as batches of kept features."""
    x, labels = random_samples(count, seed, correlated=correlated)
    return [
        Batch(features=features, logits=features[:, :CLASSES], label=label, key=[""] * len(label))
        for features, label in zip(x.split(size), labels.split(size), strict=True)
    ]


def fits(rank: int, shards: Path, out: Path, devices: int) -> dict[str, Any]:
    """Heads, figures and epochs of the same fits and tests, over so many processes.

    Of 23 samples one rank of two has 12 in two batches, the other 11 in one. Steps are taken over all 22 of an even number.
    """
    options: dict[str, Any] = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto", "max_epochs": 3}
    chosen: dict[str, dict[str, Any]] = {
        "exact": {"val_fraction": 0.05, "batch_size": 11},
        "sgd": {"val_fraction": 0.1, "batch_size": 22 // devices},
    }
    found = {}
    for solver, of_data in chosen.items():
        for scaling, kept in (("standardized", True), ("unit", False)):
            data = make_data(shards, out / "features", cache=kept, **of_data)
            module = make_module(solver=solver, scaling=scaling, layers="all" if kept else ["features.0"])
            trainer = fit(module, data, **options)
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            trainer.test(module, datamodule=data, verbose=False)
            figures |= {name: float(value) for name, value in trainer.callback_metrics.items()}
            found[f"{solver} {scaling}"] = module.explainer.head_state(), figures, trainer.current_epoch
    return found
