"""Logger adapter: pictures, tables, pages and artifacts for Weights & Biases, pictures for TensorBoard."""

import base64
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

STEP = "trainer/global_step"
"""The key by which WandbLogger orders everything; W&B's own step would run ahead of it."""


class Table(NamedTuple):
    """Rows under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def log_image(trainer: pl.Trainer, name: str, image: Image.Image) -> bool:
    """Sends a picture at the trainer's step to each W&B and TensorBoard logger; False where there is none.

    Args:
        trainer: whose loggers are asked; only rank zero's have an experiment.
        name: of the picture.
        image: RGB.
    """
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    for board in boards:
        board.experiment.add_image(name, np.asarray(image), trainer.global_step, dataformats="HWC")
    return _log_to_wandb(trainer, lambda wandb: {name: wandb.Image(image)}) or bool(boards)


def log_tables(trainer: pl.Trainer, tables: Mapping[str, Table]) -> None:
    """Sends tables at the trainer's step, by name, to each W&B logger."""
    _log_to_wandb(
        trainer,
        lambda wandb: {
            name: wandb.Table(list(table.columns), [list(row) for row in table.rows]) for name, table in tables.items()
        },
    )


def log_artifact(
    trainer: pl.Trainer,
    paths: Sequence[Path],
    name: str,
    kind: str,
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Sends files and folders to each W&B logger as one artifact, of which W&B keeps versions.

    Args:
        trainer: whose loggers are asked.
        paths: what it holds; of a single folder its files, of several each under its own name.
        name: of the artifact.
        kind: its type, such as ``explainer``.
        aliases: names of this version beside ``latest``.
        metadata: JSON entries.
    """
    for logger in wandb_loggers(trainer):
        import wandb  # noqa: PLC0415 - starts slowly, and only runs with this logger need it

        artifact = wandb.Artifact(name, type=kind, metadata=dict(metadata or {}))
        for path in paths:
            if path.is_dir():
                artifact.add_dir(str(path), name=path.name if len(paths) > 1 else None)
            else:
                artifact.add_file(str(path))
        logger.experiment.log_artifact(artifact, aliases=["latest", *aliases])


def log_page(trainer: pl.Trainer, name: str, path: Path) -> None:
    """Sends an HTML page with its pictures within it to each W&B logger; nothing where it is not there or too large."""
    text = page_with_pictures(path) if path.is_file() and wandb_loggers(trainer) else None
    if text is not None:
        _log_to_wandb(trainer, lambda wandb: {name: wandb.Html(text, inject=False)})


LARGEST_PAGE = 30_000_000
"""Bytes of a page's pictures up to which it is sent."""
PICTURE = re.compile(r'(?:(?<= src=")(?!data:|https?:|#)([^"]+)|(?<=":")((?:images|originals)/[^"\\]+))(?=")')
"""Of an element, or of a gallery's card."""
SCRIPT = re.compile(r'<script src="(?!https?:|data:)([^"]+)"></script>')


def page_with_pictures(path: Path) -> str | None:
    """The text of a page with the scripts and pictures of its folder in it; None where they are more than `LARGEST_PAGE`."""

    def with_script(match: re.Match[str]) -> str:
        script = path.parent / unquote(unescape(match[1]))
        return f"<script>\n{script.read_text(encoding='utf-8')}</script>" if script.is_file() else match[0]

    text = SCRIPT.sub(with_script, path.read_text(encoding="utf-8"))
    names = {of_element or of_card for of_element, of_card in PICTURE.findall(text)}
    pictures = {source: path.parent / unquote(unescape(source)) for source in names}
    found = {source: picture for source, picture in pictures.items() if picture.is_file()}
    if sum(picture.stat().st_size for picture in found.values()) > LARGEST_PAGE:
        return None
    urls = {source: data_url(picture) for source, picture in found.items()}
    return PICTURE.sub(lambda match: urls.get(match[0], match[0]), text)


def data_url(path: Path) -> str:
    """A file as a URL that holds it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _log_to_wandb(trainer: pl.Trainer, values: Callable[[ModuleType], Mapping[str, object]]) -> bool:
    """Sends what is made with the module ``wandb`` to each W&B logger; False where there is none."""
    loggers = wandb_loggers(trainer)
    for logger in loggers:
        import wandb  # noqa: PLC0415 - the same

        logger.experiment.log({**values(wandb), STEP: trainer.global_step})
    return bool(loggers)


def wandb_loggers(trainer: pl.Trainer) -> list[WandbLogger]:
    """The W&B loggers of a trainer."""
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
