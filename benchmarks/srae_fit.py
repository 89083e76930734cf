"""What fitting SRAE heads costs over a bare pass of the frozen backbone over the same shards.

    python -m benchmarks.srae_fit --shards data/cub --backbone mobilenet_v2 --layer features

Without --shards, a small flower set is rendered (pip install 'vitrine[synthetic]'). Prints a table and writes one JSON.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader
from typing_extensions import override

from benchmarks.common import machine, quiet_trainer, show, write_figures
from datamodules import ShardDataModule
from datamodules.options import FeatureCacheOptions, LoadingOptions
from datamodules.samples import collate
from datamodules.shard_images import ShardImages
from lightning_modules import SRAEModule
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.explainer import SRAEOptions


class EpochTimer(pl.Callback):
    """Seconds of each training epoch; the first one includes computing the features."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = 0.0

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.started)
        self.started = now


@dataclass
class Figures:
    """Seconds of each round."""

    bare_pass: list[float] = field(default_factory=list)
    first_epoch: list[float] = field(default_factory=list)
    later_epoch: list[float] = field(default_factory=list)

    def ratios(self) -> dict[str, float]:
        """Medians over rounds of what was measured side by side."""
        pairs = zip(self.bare_pass, self.first_epoch, self.later_epoch, strict=True)
        first, later = zip(*[(one / bare, more / one) for bare, one, more in pairs], strict=True)
        return {
            "first epoch / bare pass": statistics.median(first),
            "later epoch / first epoch": statistics.median(later),
        }


def bare_pass(options: BackboneOptions, batches: Iterable[Batch], device: torch.device) -> float:
    """Seconds for the frozen backbone to see every training image once."""
    backbone = FrozenBackbone.from_options(options).to(device)
    started = time.perf_counter()
    with torch.no_grad():
        for batch in batches:
            logits = backbone(batch["image"].to(device)).logits
    logits.cpu()  # waits for the device
    return time.perf_counter() - started


def fit(module: SRAEModule, data: ShardDataModule, epochs: int, accelerator: str) -> list[float]:
    """Seconds of each epoch."""
    timer = EpochTimer()
    trainer = quiet_trainer(epochs, accelerator, callbacks=[timer], limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    return timer.seconds


def run(args: argparse.Namespace, shards: Path) -> Figures:
    """All rounds; each starts with an empty feature store."""
    options = BackboneOptions(args.backbone, args.weights)
    accelerator = "gpu" if args.device == "cuda" else "cpu"
    figures = Figures()
    for _ in track(range(args.rounds), description="rounds", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory() as cache:
            make: Callable[[], ShardDataModule] = lambda cache=cache: ShardDataModule(  # type: ignore[misc]  # noqa: E731
                shards,
                Preprocessing(args.size, None),
                LoadingOptions(args.batch_size, args.workers, val_fraction=0.0),
                FeatureCacheOptions(folder=cache),
            )
            data = make()
            data.setup("fit")
            split = data.split("train")
            images = ShardImages(split, data.preprocessing)
            streamed = DataLoader(images, args.batch_size, num_workers=args.workers, collate_fn=collate)
            figures.bare_pass.append(bare_pass(options, streamed, torch.device(args.device)))
            module = SRAEModule(options, SRAEOptions(args.layer, explained_classes=args.classes, image_size=args.size))
            seconds = fit(module, make(), args.epochs, accelerator)
        figures.first_epoch.append(seconds[0])
        figures.later_epoch.append(statistics.median(seconds[1:]))
    return figures


def flowers(folder: Path) -> Path:
    """A rendered set to measure on."""
    from vitrine.data.an8flower.generate import generate  # noqa: PLC0415 - an optional extra
    from vitrine.data.an8flower.settings import FlowerSettings  # noqa: PLC0415

    generate(FlowerSettings("single-6c", views=20, size=256, crops=2, rotations=2, crop_size=224), folder)
    return folder


def report(args: argparse.Namespace, figures: Figures) -> None:
    """Prints the table and writes the JSON."""
    rows = [
        [f"{name} (s)", *(f"{f(seconds):.2f}" for f in (statistics.median, min, max))]
        for name, seconds in asdict(figures).items()
    ]
    rows += [[name, f"{ratio:.3f}"] for name, ratio in figures.ratios().items()]
    title = f"SRAE fitting, {args.backbone}, layer {args.layer} ({machine()})"
    show(title, ["", "median", "least", "most"], rows)
    write_figures(args.out, args, asdict(figures) | figures.ratios())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.srae_fit", description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, help="folder with train/ (rendered flowers)")
    parser.add_argument("--backbone", default="mobilenet_v2", help="name of the network (%(default)s)")
    parser.add_argument("--weights", help="state dict or table entry (random weights)")
    parser.add_argument("--layer", default="features", help="tapped layer (%(default)s)")
    parser.add_argument("--classes", type=int, nargs="+", default=list(range(6)), help="classes with a head (0 to 5)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a batch (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images (%(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of a round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/srae_fit.json"), help="(%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(args, args.shards or flowers(Path(folder) / "flowers"))
    report(args, figures)


if __name__ == "__main__":
    main()
