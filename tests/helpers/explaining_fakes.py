"""A tiny explainer, module and datamodule for the callbacks, and a run of them in one process or two."""

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.helpers.image_data import ImageData
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.core.options import Options

SIZE, CLASSES, IMAGES = 12, ["loon", "tern", "<b>gull</b> & co"], 9


class FakeExplainer(nn.Module):
    """Three heatmaps an image, a function of the image and the head; greedy for random numbers, gradients and modes."""

    options: Options
    """Set by tests of logit maps."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.5)
        self.classes: list[str] = []
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(images.mean(dim=(2, 3))))

    def explain(self, images: Tensor, target: int | None = None) -> Explanation:
        self.seen.append(len(images))
        torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002, S311  # what a callback must undo
        with torch.enable_grad():
            logits = self(images)
            logits.sum().backward()
        logits = logits.detach()
        prediction = logits.argmax(dim=1)
        heatmaps = images * self.head.weight[0, :, None, None].detach()
        return Explanation(
            heatmaps=heatmaps,
            scores=heatmaps.mean(dim=(2, 3)),
            labels=[[f"x-feature {k + 1}" for k in range(3)] for _ in images],
            prediction=prediction,
            target=prediction if target is None else torch.full_like(prediction, target),
            logits=logits,
        )


class FakeModule(pl.LightningModule):
    """Trains the head with dropout, so that a stray random number changes the weights."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.explainer = FakeExplainer()
        self.lr = lr

    def training_step(self, batch: Batch) -> Tensor:
        loss = nn.functional.cross_entropy(self.explainer(batch["image"]), batch["label"])
        self.log("train/loss", loss)
        return loss

    def test_step(self, batch: Batch) -> Explanation:  # type: ignore[override]  # Lightning hands it to the callbacks
        self.log("test/mean", batch["image"].mean(), on_epoch=True, batch_size=len(batch["image"]), sync_dist=True)
        return self.explainer.explain(batch["image"])

    def predict_step(self, batch: Batch) -> Explanation:
        return self.explainer.explain(batch["image"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.explainer.parameters(), lr=self.lr)


class FakePreprocessing:
    """Undoes the normalisation by 0.5 and 0.25."""

    def denormalize(self, images: Tensor) -> Tensor:
        return (images * 0.25 + 0.5).clamp(0, 1)


class FakeData(ImageData):
    """Nine images, which two ranks cannot share evenly, in two folders that share their stems; keys in no order."""

    def __init__(self, *, multi_label: bool = False) -> None:
        super().__init__()
        self.classes = CLASSES
        self.preprocessing = FakePreprocessing()
        self.multi_label = multi_label

    def sample(self, n: int) -> dict[str, Any]:
        image = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(n))
        label: Any = n % 3
        if self.multi_label:
            label = torch.tensor([float(n % 3 == c or n % 2 == c) for c in range(3)])
        return {"image": image, "label": label, "key": f"{'ab'[n % 2]}/{(7 * (n // 2)) % 5}"}

    def loader(self) -> DataLoader[Any]:
        return DataLoader([self.sample(n) for n in range(IMAGES)], batch_size=2)  # type: ignore[arg-type]

    train_dataloader = test_dataloader = predict_dataloader = loader

    def panel(self, count: int) -> Batch:
        torch.rand(5)  # the images may be read with random numbers
        samples = [self.sample(n) for n in range(count)]
        return Batch(
            image=torch.stack([s["image"] for s in samples]),
            key=[s["key"] for s in samples],
            label=torch.tensor([s["label"] for s in samples]),
        )


def trainer(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """A silent trainer on the CPU for two epochs."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    return pl.Trainer(default_root_dir=folder, callbacks=list(callbacks), **(defaults | options))


def module(lr: float = 0.1) -> FakeModule:
    """Always the same weights."""
    pl.seed_everything(3, verbose=False)
    return FakeModule(lr)


class Counts(pl.Callback):
    """Writes how many images each rank explained for the panel."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        explainer: Any = pl_module.explainer
        folder = Path(trainer.default_root_dir)
        (folder / f"seen-{trainer.global_rank}").write_text(repr(explainer.seen), encoding="utf-8")


def explaining_run(rank: int, folder: Path, devices: int) -> str:
    """Panel, report and predictions of one run, over so many processes; what this rank printed."""
    from callbacks.heatmaps import HeatmapPanel
    from callbacks.predictions import PredictionWriter
    from callbacks.report import ReportGallery

    strategy = "ddp" if devices > 1 else "auto"
    callbacks = [HeatmapPanel(num_images=5), ReportGallery(images_per_class=2), PredictionWriter(), Counts()]
    run = trainer(folder, *callbacks, devices=devices, strategy=strategy, max_epochs=1)
    model, data = module(lr=0.0), FakeData()  # dropout differs with the number of processes, the weights must not
    with contextlib.redirect_stdout(io.StringIO()) as output:
        run.fit(model, datamodule=data)
        run.test(model, datamodule=data, verbose=False)
        run.predict(model, datamodule=data, return_predictions=False)
    return output.getvalue()
