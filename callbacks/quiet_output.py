"""Messages of Lightning and torch that a run leaves out, and warnings that all ranks tell once."""

import logging
import os
import sys
import warnings
from typing import TextIO

from PIL import Image
from rich.console import Console

from vitrine.core.credentials import hide_credentials
from vitrine.core.rank_messages import is_told_here
from vitrine.core.verbosity import is_verbose

LIGHTNINGS_OWN = ("pytorch_lightning", "lightning_fabric")
UNHELPFUL = (
    r".*LeafSpec.* is deprecated",
    # What is logged without sync_dist was computed over all ranks already.
    r"It is recommended to use `self\.log\(.*sync_dist=True",
    # A module that solves its problem exactly has none.
    r".*configure_optimizers` returned `None`",
    # Modules translate labels there, whatever the datamodule.
    r"You have overridden `on_before_batch_transfer`",
    # The machine's number of cores says nothing of what decoding takes; docs/scaling.md does.
    r"The '\w+' does not have many workers",
    # Each step is logged, whatever there are in an epoch.
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # A checkpoint goes on exactly there, which is tested.
    r"You're resuming from a checkpoint that ended before the epoch ended",
)
"""Advice of Lightning and torch that does not hold here."""


def terminal_or_log() -> Console:
    """A console of the terminal's width, or 120 columns wide in a file."""
    console = Console(highlight=False, markup=False)
    return (
        console if console.is_terminal or "COLUMNS" in os.environ else Console(width=120, highlight=False, markup=False)
    )


def quieten() -> None:
    """Leaves out what Lightning says of itself, unless a run is verbose, and advice that does not hold here."""
    for message in UNHELPFUL:
        warnings.filterwarnings("ignore", message=message)
    # Such pictures are refused, in a sentence that names the file.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    for name in LIGHTNINGS_OWN:
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_for_users)


def _is_for_users(record: logging.LogRecord) -> bool:
    own = any(f"{os.sep}{name}{os.sep}" in record.pathname for name in LIGHTNINGS_OWN)
    return is_verbose() or not own or record.levelno >= logging.WARNING


def tell_warnings_once() -> None:
    """Writes each warning once over all ranks, as one line without the place in the code; for a script's main process."""
    warnings.showwarning = _tell
    _told.clear()


_told: set[str] = set()


def _tell(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,  # noqa: ARG001 - of Python's own function
) -> None:
    text = " ".join(hide_credentials(str(message)).split())
    if text in _told or not is_told_here(text):
        return
    _told.add(text)
    place = f" ({filename}:{lineno}, {category.__name__})" if is_verbose() else ""
    stream = file or sys.stderr
    stream.write(f"warning: {text}{place}\n")
    stream.flush()
