"""First epochs of fits that begin without kept features, and the bare pass over the same shards: what is timed."""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.common import NamedWeights, quiet_trainer
from benchmarks.rounds import Seconds, side_by_side
from datamodules import ShardDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions
from lightning_modules import MuLassoModule, SelectedFeaturesModule, SRAEModule
from lightning_modules.base import ExplainerModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Features
from vitrine.data.feature_store.computing import on_device
from vitrine.data.feature_store.pass_options import PassOptions
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions
from vitrine.explainers.srae.explainer import SRAEOptions

BARE = "bare pass"


def srae(backbone: BackboneOptions, args: argparse.Namespace) -> ExplainerModule:
    """Heads of the paper's sizes."""
    return SRAEModule(backbone, SRAEOptions(args.layer, explained_classes=range(args.classes), image_size=args.size))


def mu_lasso(backbone: BackboneOptions, args: argparse.Namespace) -> ExplainerModule:
    """All filters of the network, and the exact solution."""
    return MuLassoModule(backbone, MuLassoOptions(image_size=args.size))


def selected(backbone: BackboneOptions, args: argparse.Namespace) -> ExplainerModule:
    """Dimensions of Z that a Lasso chooses."""
    options = SRAEOptions(args.layer, explained_classes=range(args.classes), image_size=args.size)
    return SelectedFeaturesModule(backbone, options)


EXPLAINERS: Mapping[str, Callable[[BackboneOptions, argparse.Namespace], ExplainerModule]] = {
    "SRAE": srae,
    "μ-Lasso": mu_lasso,
    "selected features": selected,
}


class TrainingSeconds(pl.Callback):
    """Seconds of the training epoch alone, which reads kept features: what a later epoch takes too."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(-time.perf_counter())

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds[-1] += time.perf_counter()


class Passes:
    """What is timed of one network: the bare pass, and fits that were made ready before.

    Args:
        network: with its weights.
        args: of the command line.
        shards: folder with ``train``.
        scratch: for features.
    """

    def __init__(self, network: NamedWeights, args: argparse.Namespace, shards: Path, scratch: Path) -> None:
        self.args, self.shards, self.scratch = args, shards, scratch
        self.options = BackboneOptions(network.name, network.weights, None if network.weights else args.classes)
        self.model = network.build(args.device)
        self.compute = PassOptions(args.precision, args.channels_last)
        self.training: dict[str, TrainingSeconds] = {name: TrainingSeconds() for name in args.explainers}

    def data(self) -> ShardDataModule:
        """The set, with an empty cache of features."""
        loading = LoadingOptions(self.args.batch_size, self.args.workers, val_fraction=0.0)
        cache = FeatureCacheOptions(folder=tempfile.mkdtemp(dir=self.scratch), compute=self.compute)
        return ShardDataModule(self.shards, Preprocessing(self.args.size), loading, cache)

    @torch.inference_mode()
    def bare(self) -> None:
        """The network sees every training image once."""
        data = self.data()
        data.setup("fit")
        for batch in data.every_image("train"):
            found = self.compute.run(self._logits, on_device(batch["image"], torch.device(self.args.device)))
        found["logits"].cpu()

    def _logits(self, images: Tensor) -> Features:
        return Features(features=images, logits=self.model(images))

    def fits(self, name: str) -> Callable[[], None]:
        """A fit of one epoch; each call takes another that was made ready."""
        accelerator = "gpu" if self.args.device.startswith("cuda") else "cpu"
        made = [(self._module(name), self.data()) for _ in range(self.args.rounds + 1)]

        def fit() -> None:
            trainer = quiet_trainer(1, accelerator, callbacks=[self.training[name]], limit_val_batches=0)
            module, data = made.pop()
            trainer.fit(module, datamodule=data)

        return fit

    def _module(self, name: str) -> ExplainerModule:
        module = EXPLAINERS[name](self.options, self.args)
        module.class_map = "by_index"
        return module

    def times(self) -> Seconds:
        """Seconds of all, round by round."""
        runs = {BARE: self.bare, **{name: self.fits(name) for name in self.args.explainers}}
        return side_by_side(runs, self.args.rounds, self.args.device, f"{self.options.name}, rounds")
