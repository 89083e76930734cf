"""Fits on one rank and on several whose batches are of different sizes, some of them empty."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import SGD
from typing_extensions import override

from datamodules.loaders import WholeLoader
from lightning_modules import ClassifierModule, InversionModule
from tests.helpers import mu_lasso_fakes, srae_fakes
from tests.helpers.flat_options import make_flat
from tests.helpers.image_data import ImageData
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch

Fitted = tuple[dict[str, Tensor], dict[str, float]]
"""Tensors that are trained, and logged figures."""


class Data(ImageData):
    """Batches of training and validation as they are; a rank of several may have none for validation."""

    classes = tuple("abcdef")

    def __init__(self, train: list[Batch], val: list[Batch]) -> None:
        super().__init__()
        self.train, self.val = train, val

    @override
    def train_dataloader(self) -> srae_fakes.Batches:
        return srae_fakes.Batches(self.train)

    @override
    def val_dataloader(self) -> WholeLoader:
        return WholeLoader([batch for batch in self.val if len(batch["label"])], length=1)

    @override
    def test_dataloader(self) -> WholeLoader:
        return self.val_dataloader()


class PlainNet(nn.Module):
    """Nothing in it depends on other samples."""

    def __init__(self, num_classes: int = 6) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def plain_steps(weights: Any) -> SGD:
    """Adam takes whole steps also along gradients that are nothing but rounding, and so shows another rounding enlarged."""
    return SGD(weights, lr=0.1)


def ragged(batches: list[Batch]) -> list[Batch]:
    """The same with a single sample in the last one."""
    whole: list[Any] = list(batches)
    last: Any = {name: value[:1] for name, value in whole[-1].items()}
    return [*whole[:-1], last]


def image_batches(count: int = 3, size: int = 7, side: int = 32) -> list[Batch]:
    """Random images of six classes."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, size, 3, side, side, generator=generator)
    labels = torch.randint(6, (count, size), generator=generator)
    keys = [[f"{number}-{row}" for row in range(size)] for number in range(count)]
    return [Batch(image=i, label=label, key=key) for i, label, key in zip(images, labels, keys, strict=True)]


def trainer_of(world: int, folder: Path, **options: Any) -> pl.Trainer:
    """Quiet, for three epochs."""
    ranks = {"strategy": "ddp" if world > 1 else "auto", "devices": world, "use_distributed_sampler": False}
    settings = {**srae_fakes.QUIET, **ranks, "inference_mode": False, "default_root_dir": folder}
    return pl.Trainer(max_epochs=3, **{**settings, **options})


def figures_of(trainer: pl.Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def srae_fits(rank: int, world: int, folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, Fitted]:
    """Heads and logged figures of each case: options of the module, and of the trainer under ``trainer``."""
    found = {}
    for name, options in cases.items():
        module = srae_fakes.make_module(**{key: value for key, value in options.items() if key != "trainer"})
        train = srae_fakes.share(ragged(srae_fakes.make_batches(count=3, size=7)), rank, world)
        val = srae_fakes.share(srae_fakes.make_batches(count=1, size=1), rank, world)
        trainer = trainer_of(world, folder, **options.get("trainer", {}))
        trainer.fit(module, srae_fakes.Batches(train), Data(train, val).val_dataloader())
        found[name] = srae_fakes.state_of(module), figures_of(trainer)
    return found


def other_fits(rank: int, world: int, folder: Path) -> dict[str, Fitted]:
    """A fit and a test of each other module that takes steps."""
    found = {}
    plain = BackboneOptions(f"{__name__}:PlainNet")
    flower = BackboneOptions(mu_lasso_fakes.FLOWER_NET, num_classes=6, arguments={"width": 4})
    makers: dict[str, Any] = {
        "classifier": lambda: ClassifierModule(plain),
        "last layer": lambda: ClassifierModule(plain, trainable="last_layer"),
        "predictor": lambda: make_flat(
            InversionModule, flower, image_size=32, predictor=4, class_steps=1, optimizer=plain_steps
        ),
        "sgd": lambda: mu_lasso_fakes.make_module(solver="sgd", lr=0.1, activation_threshold=0.0, scaling="paper"),
    }
    for name, make in makers.items():
        torch.manual_seed(0)
        module = make()
        batches = image_batches()
        train, val = srae_fakes.share(ragged(batches), rank, world), srae_fakes.share(ragged(batches[:1]), rank, world)
        trainer, data = trainer_of(world, folder), Data(train, val)
        trainer.fit(module, datamodule=data)
        fitted = figures_of(trainer)
        trainer.test(module, datamodule=data, verbose=False)
        tensors = {key: value.clone() for key, value in module.state_dict().items() if isinstance(value, Tensor)}
        found[name] = tensors, {**fitted, **figures_of(trainer)}
    return found


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Of any entry of any tensor."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
