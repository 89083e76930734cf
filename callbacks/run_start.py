"""Start of a run: the lock of its folder, the checkpoint it goes on from, and what an earlier run left there."""

import os
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pytorch_lightning import Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from callbacks import average_images, contact_sheets, csv_log, predictions, report, tracking
from callbacks.run_access import EXPLAINERS
from vitrine.core.checkpoint_files import (
    BEST,
    FOLDER,
    LAST,
    PREEMPTED,
    checkpoint_files,
    checkpoint_named,
    last_checkpoint,
    newest_whole,
)
from vitrine.core.folder_manifest import remove_written
from vitrine.core.locks import HEARTBEAT_SECONDS, STALE_SECONDS, LockHeldError, file_lock
from vitrine.visualization.report.gallery import GALLERY

LOCK = ".lock"
BEAT_SECONDS = 3 * HEARTBEAT_SECONDS
"""How long a lock that is held elsewhere is watched for a sign of life."""
LEARNED = ("explainer", "classifier.safetensors")
"""What a fit exports; the next fit replaces it as a whole when it ends, and keeps the names that a person gave."""
FOLDERS = {
    report.FOLDER: GALLERY,
    contact_sheets.FOLDER: contact_sheets.KIND,
    predictions.FOLDER: predictions.KIND,
    average_images.FOLDER: average_images.KIND,
}
"""Folders that a run writes, in which files of others are kept."""
OF_EXPLAINER = (
    "metrics.json", "evaluation.json", "per_image.csv", "examples.safetensors", "ablation.csv", "masked/examples.png",
    "parts/examples.png", "parts/probabilities.csv",
)  # fmt: skip
"""Files that a test writes of each explainer, where it looks at several."""
WRITTEN = (
    *OF_EXPLAINER, "compare.csv", "compare.md", "compare.html", "compare_differences.csv", "compare_images.jpg",
    "settings.csv", "index.html", "curves.html", *(f"config-{stage.value}.yaml" for stage in TrainerFn),
    "metrics-limited.json", "metrics-fit.json", csv_log.FIT_TABLE, tracking.WANDB_RUN,
    "relevance.csv", "relevance.json", "picks.csv", "sanity.json",
    "panels/epoch-*-step-*.png", "panels/test.png",
    "validation.json", PREEMPTED, f"{FOLDER}/{LAST}", f"{FOLDER}/{BEST}", f"{FOLDER}/epoch=*-step=*.ckpt",
    f"{FOLDER}/.*.partial",
)  # fmt: skip
"""Files that a run writes; other loggers keep each run in a place of its own."""


@contextmanager
def folder_lock(folder: Path, command: str, *, held: bool) -> Iterator[None]:
    """Holds the lock of a run's folder.

    The lock of a process on another machine that may have been killed a moment ago is waited for until it lapses.

    Args:
        folder: of the run.
        command: that writes into it: fit, validate, test or predict.
        held: whether this process is the one of the run that holds it.

    Raises:
        LockHeldError: where another run is at work in it.
    """
    end = time.monotonic() + 1.5 * STALE_SECONDS
    with ExitStack() as stack:
        while held:
            try:
                stack.enter_context(file_lock(folder / LOCK, f"{command} in {folder}"))
                break
            except LockHeldError as error:
                elsewhere = error.owner is not None and error.owner.host != socket.gethostname()
                if not elsewhere or time.monotonic() > end or _is_beating(folder / LOCK):
                    raise
        yield


def _is_beating(lock: Path) -> bool:
    """Whether a lock's owner gives a sign of life within the next seconds."""
    try:
        before = lock.stat().st_mtime_ns
        end = time.monotonic() + BEAT_SECONDS
        while time.monotonic() < end:
            time.sleep(0.2)
            if lock.stat().st_mtime_ns != before:
                return True
    except FileNotFoundError:
        pass
    return False


def checkpoint_of_fit(folder: Path, wanted: str | None, *, overwrite: bool, is_first: bool) -> Path | None:
    """The checkpoint that a fit goes on from; None where it begins from the start.

    A job that SLURM has requeued goes on from the newest, whatever its command says.

    Args:
        folder: of the run.
        wanted: ``--ckpt_path``.
        overwrite: removes what an earlier run left.
        is_first: whether this process is the first of the run, which alone looks at what the folder holds and removes it.

    Raises:
        FileExistsError: where the folder holds a run that this one would write over.
        FileNotFoundError: where the checkpoint is not there.
        ValueError: where it is not whole, and for ``--ckpt_path`` and ``--overwrite`` together.
    """
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        wanted, overwrite = "auto", False
    if overwrite and wanted is not None:
        raise ValueError(f"--overwrite true would remove what --ckpt_path {wanted} goes on from; give one of them.")
    if overwrite and is_first:
        remove_run(folder)
    path = None if wanted is None else checkpoint_named(folder, wanted, rank_zero_info)
    if is_first and not overwrite:
        _check_continues(folder, wanted, path)
    return path


def _check_continues(folder: Path, wanted: str | None, path: Path | None) -> None:
    """Refuses a fit that would write over the run that a folder holds, which is none that goes on with it."""
    if path is not None and _is_within(path, folder):
        return
    held = next((place for place in (folder / name for name in LEARNED) if place.exists()), None)
    if wanted != "auto":  # a run that was killed before its first checkpoint begins again
        held = next(iter(checkpoint_files(folder)), None) or held or _if_there(folder / "config-fit.yaml")
    if held is not None:
        raise FileExistsError(
            f"trainer.default_root_dir {folder} holds a run ({held.relative_to(folder)}); go on with it by --ckpt_path auto,"
            " give another trainer.default_root_dir, or remove it by --overwrite true."
        )


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def restoring_told(trainer: Trainer) -> Iterator[None]:
    """Within it, what goes wrong while the trainer takes over a checkpoint is told with the name of its file.

    Args:
        trainer: that takes it over.

    Raises:
        ValueError: for whatever Lightning and torch raise then.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError, AssertionError) as error:
        path = trainer.ckpt_path
        is_told = isinstance(error, ValueError) and str(path) in str(error)
        if path is None or is_told or not _is_restoring(error):
            raise
        raise ValueError(
            f"--ckpt_path {path} does not go with this run ({type(error).__name__}: {error}); give the options that it was"
            " written with, another one, or auto for the newest that is whole."
        ) from error


def _is_restoring(error: BaseException) -> bool:
    """Whether Lightning was taking over a checkpoint."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [code.co_name for code in codes if Path(code.co_filename).name == "checkpoint_connector.py"]
    return any(name.lstrip("_").startswith(("restore", "resume")) for name in names)


def remove_run(folder: Path) -> None:
    """Removes what a run wrote into its folder, but for logs, and the export that the next fit replaces.

    What others put there stays, also within the folders that a run writes.
    """
    for of_explainer in folder.glob(f"{EXPLAINERS}/*"):
        if of_explainer.is_dir() and not of_explainer.is_symlink():
            _remove_files(of_explainer, OF_EXPLAINER)
            _remove_if_empty(of_explainer)
    _remove_if_empty(folder / EXPLAINERS)
    _remove_files(folder, WRITTEN)


def _remove_files(folder: Path, patterns: Sequence[str]) -> None:
    """Removes files by the patterns of their names, and `FOLDERS`."""
    for name, kind in FOLDERS.items():
        remove_written(folder / name, kind)
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_file() or path.is_symlink():
                path.unlink()
            if path.parent != folder:
                _remove_if_empty(path.parent)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not there, holds something else, or is a link
        folder.rmdir()


class ReadsCheckpoint(Protocol):
    """A module that says what a checkpoint is to it."""

    needs_checkpoint: bool
    """Whether it means nothing without one."""
    is_fitted: bool
    """Whether a fit of it leaves one; where not, the one in its folder is of another module."""


def checkpoint_to_read(folder: Path, wanted: str | None, module: ReadsCheckpoint) -> Path | None:
    """The checkpoint that a test, validation or prediction reads; None where there is none and none is needed.

    Args:
        folder: of the run.
        wanted: ``--ckpt_path``; without one the newest whole one that ``fit`` left.
        module: that takes it over.

    Raises:
        FileNotFoundError: where there is none and the heads would be those drawn at random, which explain nothing.
        ValueError: where it is not whole.
    """
    if wanted not in {None, "auto"}:
        return checkpoint_named(folder, str(wanted), rank_zero_info)
    if wanted is None and not module.is_fitted:
        return None
    path = newest_whole(folder, rank_zero_info)
    if path is None and module.needs_checkpoint:
        raise FileNotFoundError(
            f"{last_checkpoint(folder)} does not exist; run 'fit' first, or give --ckpt_path or model.init_args.init_from."
        )
    return path
