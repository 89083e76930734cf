"""Heads on given features, and several fits of them in one process or several."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from typing_extensions import override

from lightning_modules import SRAEModule
from lightning_modules.selected_features import SelectedFeaturesModule
from tests.helpers.flat_options import make_flat
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.srae.heads import SeparateHeads, SRAEHead

EXPLAINED = [0, 1, 3]
WIDTH = 64
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def make_module(**options: Any) -> SRAEModule:
    """Three heads with three x-features each, on an untrained network with four classes."""
    torch.manual_seed(0)
    backbone = BackboneOptions("squeezenet1_1", num_classes=4)
    settings = {"layer": "features.2", "num_features": 3, "hidden": (8,), "image_size": 32, "lr": 1e-2}
    return make_flat(
        SRAEModule, backbone, **{"explained_classes": EXPLAINED, "positive_weight": 5.0, **settings, **options}
    )


def separate_heads(module: SRAEModule) -> SeparateHeads:
    """The module's heads, which share no trunk."""
    assert isinstance(module.heads, SeparateHeads)
    return module.heads


def feature_layer(head: SRAEHead) -> nn.Linear:
    """The layer that gives the x-features, before its ReLU."""
    layer = head.encoder[-2]
    assert isinstance(layer, nn.Linear)
    return layer


def make_selection(**options: Any) -> SelectedFeaturesModule:
    """Two dimensions of the same Z for each of the three classes."""
    torch.manual_seed(0)
    backbone = BackboneOptions("squeezenet1_1", num_classes=4)
    settings: dict[str, Any] = {"layer": "features.2", "num_features": 2, "alpha": 0.05, "image_size": 32}
    return make_flat(SelectedFeaturesModule, backbone, **{"explained_classes": EXPLAINED, **settings, **options})


def make_batches(count: int = 2, size: int = 12, *, sampled: bool = False) -> list[Batch]:
    """Feature batches with labels that the logits follow."""
    generator = torch.Generator().manual_seed(1)
    batches = []
    for _ in range(count):
        features = torch.rand(size, WIDTH, generator=generator)
        logits = 4 * features[:, :4] - 1
        batch = Batch(features=features, logits=logits, label=logits.argmax(dim=1))
        if sampled:
            batch["sampled"] = torch.rand(size, len(EXPLAINED), generator=generator) < 0.7
        batches.append(batch)
    return batches


class Batches:
    """A loader that goes on within an epoch after a resume."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches
        self.seen = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self.seen % len(self.batches), len(self.batches)):
            self.seen = number + 1
            yield self.batches[number]

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen % len(self.batches)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


class KeepAll(Checkpoint):
    """Checkpoints after every batch, validation and epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[Path] = []

    def keep(self, trainer: pl.Trainer, hook: str) -> None:
        path = self.folder / f"{trainer.global_step}_{hook}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self.kept.append(path)

    @override
    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.keep(trainer, "batch")

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.keep(trainer, "epoch")


def fit(
    module: pl.LightningModule,
    batches: list[Batch],
    epochs: int,
    *callbacks: pl.Callback,
    ckpt: Path | None = None,
    val: list[Batch] | None = None,
    **options: Any,
) -> pl.Trainer:
    """Fits, and gives back the trainer."""
    keeps = any(isinstance(callback, Checkpoint) for callback in callbacks)
    settings = {**QUIET, "enable_checkpointing": keeps, **options}
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **settings)
    val_loader = None if val is None else Batches(val)
    trainer.fit(module, Batches(batches), val_loader, ckpt_path=ckpt, weights_only=False)
    return trainer


def state_of(module: SRAEModule) -> dict[str, Tensor]:
    """The heads as they are now."""
    return {name: value.detach().clone() for name, value in module.heads.state_dict().items()}


def share(batches: list[Batch], rank: int, world: int) -> list[Batch]:
    """One rank's rows of each batch."""
    whole: list[Any] = list(batches)
    parts: list[Any] = [{name: value[rank::world] for name, value in batch.items()} for batch in whole]
    return parts


# Fits in one process or several

Fit = Callable[..., tuple[dict[str, Tensor], dict[str, float]]]


def fits(rank: int, world: int, folder: Path) -> dict[str, Any]:
    """Heads and logged figures of each kind of fit."""
    strategy: dict[str, Any] = {"devices": world, "use_distributed_sampler": False}

    def run(*callbacks: pl.Callback, ddp: str = "ddp", ckpt: Path | None = None, **options: Any) -> Any:
        module = make_module(**options)
        batches = share(make_batches(sampled=True), rank, world)
        val = share(make_batches(count=1, size=10), rank, world)
        chosen = {"strategy": ddp if world > 1 else "auto", "default_root_dir": folder, **strategy}
        trainer = fit(module, batches, 3, *callbacks, ckpt=ckpt, val=val, **chosen)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        return state_of(module), figures

    found = {
        "cae": run(objective="cae"),
        "shared": run(trunk="shared"),
        "pretrained": run(ddp="ddp_find_unused_parameters_true", pretraining_epochs=1),
        "pretrained in groups": run(pretraining_epochs=1, classes_at_once=2),
    }
    lasso = make_selection()
    batches = share(make_batches(), rank, world)
    fit(lasso, batches, 3, **strategy, strategy="ddp" if world > 1 else "auto", default_root_dir=folder)
    found["lasso"] = {name: value.clone() for name, value in lasso.explainer.heads.state_dict().items()}, {}
    # Two ranks: in the second group of three epochs, rank 1 has no head; in the one group of the other, fewer than rank 0.
    for name, options, places in (
        ("groups", {"classes_at_once": 1}, (3, 8, 9)),
        ("cae in groups", {"classes_at_once": 2, "objective": "cae"}, (4,)),
    ):
        keep = KeepAll(folder / name)
        found[name] = run(keep, **options)
        for path in [keep.kept[place] for place in places if world > 1]:
            found[f"{name}, resumed from {path.name}"] = run(ckpt=path, **options)
    return found
