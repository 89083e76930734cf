"""Checkpoint files of a run's folder: their names, whether they are whole, and which one a name such as ``auto`` means."""

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch

FOLDER = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"
OF_A_STEP = re.compile(r"epoch=\d+-step=\d+\.ckpt")
"""Names of earlier checkpoints and of the best ones, which ``last.ckpt`` and ``best.ckpt`` are further names of."""
PREEMPTED = "hpc_ckpt_*.ckpt"
"""Checkpoints that Lightning writes of a preempted job, in the run's folder itself."""

TYPES: Mapping[str, type] = {
    "state_dict": dict, "pytorch-lightning_version": str, "epoch": int, "global_step": int, "loops": dict,
    "callbacks": dict, "optimizer_states": list, "lr_schedulers": list,
}  # fmt: skip
"""What Lightning writes into a checkpoint."""
NEEDED = ("state_dict", "pytorch-lightning_version", "epoch", "global_step")

Tell = Callable[[str], None]
"""Shows a sentence to the user."""


def last_checkpoint(run_folder: str | Path) -> Path:
    """Path of a run's newest checkpoint."""
    return Path(run_folder, FOLDER, LAST)


def best_checkpoint(run_folder: str | Path) -> Path:
    """Path of a run's best checkpoint by the monitored metric."""
    return Path(run_folder, FOLDER, BEST)


def checkpoint_of(run_folder: str | Path, epoch: int, step: int) -> Path:
    """Path of a run's checkpoint after so many epochs and optimiser steps."""
    return Path(run_folder, FOLDER, f"epoch={epoch}-step={step}.ckpt")


def checkpoint_files(run_folder: str | Path) -> list[Path]:
    """All checkpoints of a run, the newest first, each under one of its names."""
    folder = Path(run_folder)
    ours = [path for path in Path(folder, FOLDER).glob("*.ckpt") if not path.name.startswith(".")]
    # Where two names are of one time, that is of one file, last.ckpt comes first and best.ckpt last.
    found = sorted(
        [*ours, *folder.glob(PREEMPTED)],
        key=lambda path: (path.stat().st_mtime_ns, path.name == LAST, path.name != BEST, path.name),
        reverse=True,
    )
    return [path for place, path in enumerate(found) if not any(path.samefile(other) for other in found[:place])]


def damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint; None where it is whole, and is one.

    A checkpoint is a zip archive whose members carry checksums, so that truncation and flipped bytes are both found. Where
    members begin and end is written twice, and torch and Python read one copy each.
    """
    if path.stat().st_size == 0:
        return "is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
        if member is None:
            torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - reads the directory alone, as torch.load does
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"is torn, or none ({error})"
    return _other_contents(path) if member is None else f"is damaged (the checksum of {member} is wrong)"


def _other_contents(path: Path) -> str | None:
    """What a whole archive holds in place of a checkpoint; None where it is one. No code in it is run."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError:
        return "holds more than tensors and plain values, and is not read"
    except Exception as error:  # noqa: BLE001 - torch raises what it likes for pickles of others
        return f"is no checkpoint ({type(error).__name__}: {str(error).partition('.')[0][:100]})"
    if not isinstance(checkpoint, dict):
        return f"is no checkpoint of a fit: it holds a {type(checkpoint).__name__}"
    if checkpoint and all(isinstance(value, torch.Tensor) for value in checkpoint.values()):
        return "is no checkpoint of a fit: it holds weights alone, which model.init_args.backbone.weights takes"
    lacking = next((name for name in NEEDED if name not in checkpoint), None)
    if lacking is not None:
        return f"is no checkpoint of a fit: it has no entry {lacking!r}"
    other = next((name for name, kind in TYPES.items() if not isinstance(checkpoint.get(name, kind()), kind)), None)
    return None if other is None else f"is no checkpoint of a fit: its {other!r} is no {TYPES[other].__name__}"


def _whole(files: list[Path], tell: Tell) -> Iterator[Path]:
    for path in files:
        damage = damage_of(path)
        if damage is None:
            yield path
        else:
            tell(f"{path} {damage}: the checkpoint before it is taken.")


def newest_whole(run_folder: str | Path, tell: Tell) -> Path | None:
    """The newest checkpoint of a run that is whole; None where there is none.

    Args:
        run_folder: of the run.
        tell: is told of each newer one that is not whole.
    """
    return next(_whole(checkpoint_files(run_folder), tell), None)


def checkpoint_named(run_folder: str | Path, wanted: str, tell: Tell) -> Path | None:
    """The checkpoint that an option names.

    Args:
        run_folder: of the run.
        wanted: ``auto`` (the newest whole one, None where there is none), ``last`` (the same, but there must be one),
            ``best`` (by the monitored metric), or a path.
        tell: is told what ``auto`` and ``last`` have come to mean.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: for one that is not whole, where it was asked for by its path or as the best.
    """
    if wanted in {"auto", "last"}:
        return _newest(run_folder, wanted, tell)
    path = best_checkpoint(run_folder) if wanted == "best" else Path(wanted)
    if not path.is_file():
        remedy = (
            "fit with --checkpoint.monitor METRIC" if wanted == "best" else "give auto, last, best or the path of one"
        )
        raise FileNotFoundError(f"--ckpt_path {wanted}: {path} does not exist; {remedy}.")
    damage = damage_of(path)
    if damage is not None:
        raise ValueError(
            f"--ckpt_path {wanted}: {path} {damage}; give another one, or auto for the newest that is whole."
        )
    return path


def _newest(run_folder: str | Path, wanted: str, tell: Tell) -> Path | None:
    path = newest_whole(run_folder, tell)
    if path is not None:
        tell(f"--ckpt_path {wanted}: goes on from {path}.")
    elif wanted == "last":
        raise FileNotFoundError(
            f"--ckpt_path last: {last_checkpoint(run_folder)} does not exist, nor does an earlier one that is whole; give"
            " auto to begin from the start where there is none."
        )
    else:
        tell(f"--ckpt_path auto: {run_folder} holds no checkpoint, so the run begins from the start.")
    return path
