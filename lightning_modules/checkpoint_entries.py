"""Checkpoint entries: what a checkpoint has to hold before a module takes it over, and of which types."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

NEEDED_BY_FIT = ("loops", "optimizer_states", "lr_schedulers", "callbacks")
PROGRESS = ("epoch_progress", "epoch_loop.batch_progress")
"""Entries of the loop of a fit without which it would begin from the start."""
TYPES: dict[str, tuple[type, ...]] = {
    "fit": (dict,),
    "meaning_of_heads": (dict,),
    "plan": (dict,),
    "classes": (list, tuple),
    "mean_contributions": (Tensor,),
    "contributions": (Tensor, type(None)),
    "contributions_of_settings": (dict,),
    "group": (int,),
    "optimizers_of_ranks": (list,),
    "has_scaling": (bool,),
    "streamed": (dict,),
    "multi_label": (bool,),
}
"""Of what modules add to a checkpoint."""
TYPES_OF_FIT: dict[str, tuple[type, ...]] = {
    "seed": (int, type(None)),
    "optimizer": (str,),
    "interval": (str,),
    "optimizer_options": (list,),
    "epoch_means": (dict,),
    "training_metrics": (dict,),
}


def check_entries(checkpoint: Mapping[str, Any], name: str, *, fitting: bool) -> None:
    """Checks what a checkpoint holds.

    Args:
        checkpoint: as it was read.
        name: of its file, for messages.
        fitting: whether a fit is to go on from it, which needs more than weights.

    Raises:
        ValueError: for an entry that is not there, or holds something else.
    """
    _check_types(checkpoint, TYPES, name)
    _check_types(checkpoint.get("fit", {}), TYPES_OF_FIT, name)
    if any(not isinstance(entry, str) for entry in checkpoint.get("classes", ())):
        raise ValueError(_other(name, "classes", "names"))
    if not fitting:
        return
    loop = checkpoint.get("loops", {}).get("fit_loop", {})
    lacking = [entry for entry in NEEDED_BY_FIT if entry not in checkpoint]
    lacking += [f"loops.fit_loop.{entry}" for entry in PROGRESS if not isinstance(loop, dict) or entry not in loop]
    if lacking:
        raise ValueError(
            f"{name} has no entry {lacking[0]!r}, so that a fit cannot go on from it; give another --ckpt_path, or begin anew"
            " with what the run exported by model.init_args.init_from or backbone.weights."
        )
    bad = next(
        (path for path, value in _numbers("optimizer_states", checkpoint["optimizer_states"]) if _is_nan(value)), ""
    )
    if bad:
        raise ValueError(f"{name} holds NaN in {bad}; give --ckpt_path of an earlier checkpoint.")


def _check_types(entries: Mapping[str, Any], types: Mapping[str, tuple[type, ...]], name: str) -> None:
    for key, kinds in types.items():
        if key in entries and not isinstance(entries[key], kinds):
            raise ValueError(_other(name, key, " or ".join(kind.__name__ for kind in kinds)))


def _other(name: str, key: str, wanted: str) -> str:
    return f"{name} holds something else than {wanted} under {key!r}; give another --ckpt_path, or auto for the newest."


def _numbers(path: str, value: Any) -> Iterator[tuple[str, float | Tensor]]:
    """Numbers and tensors within lists and dicts, with where they stand."""
    if isinstance(value, float | Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _numbers(f"{path}.{key}", entry)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _numbers(f"{path}.{number}", entry)


def _is_nan(value: float | Tensor) -> bool:
    return bool(value.isnan().any()) if isinstance(value, Tensor) else math.isnan(value)


def check_tensors(own: Mapping[str, Any], saved: Mapping[str, Any], name: str) -> None:
    """Checks the tensors of a checkpoint that a module has too.

    Args:
        own: the module's state dict.
        saved: the checkpoint's.
        name: of its file, for messages.

    Raises:
        ValueError: for one of another kind of number, or with NaN or infinity where the module has none.
    """
    for key, value in own.items():
        other = saved.get(key, value)
        if not isinstance(value, Tensor):
            continue
        if not isinstance(other, Tensor) or _kind(other) != _kind(value):
            what = str(other.dtype).removeprefix("torch.") if isinstance(other, Tensor) else type(other).__name__
            raise ValueError(
                f"{name} holds {what} as {key!r}, where {str(value.dtype).removeprefix('torch.')} belongs; give another"
                " --ckpt_path, or auto for the newest."
            )
        bad = ~other.isfinite() if other.is_floating_point() else torch.zeros((), dtype=torch.bool)
        if bad.any() and (other.shape != value.shape or value.isfinite().all() or other.isnan().any()):
            raise ValueError(f"{name} holds NaN or infinity in {key!r}; give --ckpt_path of an earlier checkpoint.")


def _kind(value: Tensor) -> tuple[bool, bool]:
    return value.is_floating_point(), value.is_complex()
