"""What the benchmarks share: networks, images, the machine's name, tables and JSON."""

import argparse
import json
import logging
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from datamodules.images import ImageFolder
from vitrine.backbones.networks import build_network
from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing


def machine() -> str:
    """What this ran on."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {torch.get_num_threads()} threads{gpu}, torch {torch.__version__}"


class NamedWeights(NamedTuple):
    """A network by name, and its weights."""

    name: str
    weights: str | None

    @classmethod
    def parse(cls, text: str) -> "NamedWeights":
        """Reads ``squeezenet1_0=squeezenet1_0.pth``, or a name alone for random weights."""
        name, _, weights = text.partition("=")
        return cls(name, weights or None)

    def build(self, device: str) -> nn.Module:
        """The network in eval mode."""
        return build_network(self.name, self.weights).eval().to(device)


def add_common_options(parser: argparse.ArgumentParser, out: str) -> None:
    """--device, --seed and --out, which every benchmark has."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path(out), help="the figures as JSON (%(default)s)")


def add_networks(parser: argparse.ArgumentParser, *default: str) -> None:
    """--networks NAME=WEIGHTS …."""
    parser.add_argument(
        "--networks",
        type=NamedWeights.parse,
        nargs="+",
        default=[NamedWeights.parse(name) for name in default],
        metavar="NAME=WEIGHTS",
        help=f"networks and files of their weights, random without ({' '.join(default)})",
    )


def read_images(folder: Path, count: int, preprocessing: Preprocessing) -> Tensor:
    """(count, 3, H, W): images spread evenly over a folder's, in the order of their names."""
    images = ImageFolder(folder, preprocessing)
    count = min(count, len(images))
    return torch.stack([images[number * len(images) // count]["image"] for number in range(count)])


def quiet_trainer(epochs: int, accelerator: str = "cpu", **options: Any) -> pl.Trainer:
    """A trainer of one device that writes and shows nothing.

    Args:
        epochs: passes over the data.
        accelerator: ``cpu`` or ``gpu``.
        options: others of `pytorch_lightning.Trainer`.
    """
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


@contextmanager
def silent_lightning() -> Iterator[None]:
    """Within it Lightning says nothing but errors, and nobody warns."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def write_figures(path: Path, args: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    """Writes the figures, the options and the machine as one JSON file."""
    options = {name: str(value) for name, value in vars(args).items()}
    text = json.dumps({"machine": machine(), "options": options} | dict(figures), indent=2, ensure_ascii=False)
    with atomic_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
