"""Readings of a weight file: which of its entries are a network's state dict, under which prefix."""

import inspect
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.backbones.classifier_layer import classifier_layer
from vitrine.core.distributed import global_rank
from vitrine.core.near_names import near_names
from vitrine.core.tensor_checks import check_tensors

WRAPPERS = {"module", "_orig_mod"}
"""Names under which DataParallel and torch.compile keep what they wrap, also in the middle of a network."""
OF_OLD_DENSENETS = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""A dot that stands in published files of DenseNets and no longer in the networks."""
DEPTH = 3
"""Mappings within mappings that are looked into."""


@dataclass(frozen=True)
class Reading:
    """Tensors of a file under a network's names, and how far they fit it."""

    container: str = ""
    """Dotted keys of the mapping that holds them; empty where the file does so itself."""
    prefix: str = ""
    """What stands before the network's names, with the dot."""
    renamed: bool = False
    """Whether names were changed within."""
    state: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0
    """Tensors of the same mapping that stand under other prefixes."""
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    other_shapes: list[str] = field(default_factory=list)
    num_classes: int | None = None
    """Logits of the file, where it fits but for their number."""

    @property
    def faults(self) -> int:
        """Names that do not fit."""
        return len(self.missing) + len(self.surplus) + len(self.other_shapes)

    @property
    def described(self) -> str:
        """What is read of the file; empty where it is all of it, as it is."""
        entry = f"entry {self.container!r}" if self.container else ""
        prefix = f"tensors under {self.prefix!r}" if self.prefix else ""
        renamed = "names without what wrappers put into them" if self.renamed else ""
        return ", ".join(filter(None, (entry, prefix, renamed)))


def find_reading(content: Mapping[str, Any], model: nn.Module, path: Path) -> Reading:
    """The one reading of a file that fits a network: of a mapping in it, without what stands before each name.

    Readings that hold equal tensors count as one. One that fits but for the number of logits counts where none fits whole,
    and says so in ``num_classes``.

    Args:
        content: all that the file holds, by name.
        model: the network.
        path: of the file, for messages.

    Raises:
        ValueError: where none fits, with the nearest names, or several do.
    """
    wanted = model.state_dict()
    as_they_are = _readings(content, wanted, rename=False)
    for readings in (as_they_are, _readings(content, wanted, rename=True)):
        whole = [one for one in readings if not one.faults]
        others = [_with_num_classes(one, wanted, model) for one in readings]
        fitting = _different(whole or [one for one in others if one.num_classes is not None])
        if len(fitting) > 1:
            raise ValueError(_ambiguous(fitting, path))
        if fitting:
            return fitting[0]
    raise ValueError(_does_not_fit(min(as_they_are, key=lambda one: one.faults, default=None), wanted, path))


def take_over(model: nn.Module, reading: Reading, path: Path) -> None:
    """Loads a reading that fits, and warns of which it is where the file holds more, or other names.

    Raises:
        ValueError: for another number of logits, tensors of another kind of numbers, and such that are not finite.
    """
    if reading.faults:
        raise ValueError(_does_not_fit(reading, model.state_dict(), path))
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    wanted = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    tensors = {name: value for name, value in reading.state.items() if isinstance(value, Tensor)}
    check_tensors(tensors, wanted, f"Weight file {path}", wanted.keys() - parameters)
    model.load_state_dict(reading.state)
    if reading.described and _is_first_process():
        left = f"; {reading.left_out} other tensors are left out" if reading.left_out else ""
        warnings.warn(f"Of weight file {path} is read: {reading.described}{left}.", stacklevel=_level_of_caller())


def _is_first_process() -> bool:
    """Also before there is a process group."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return global_rank() == 0 and all(rank in {None, "", "0"} for rank in ranks)


def _level_of_caller() -> int:
    """The stack level, as `take_over` counts it, of the code outside this package that asked for the network."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "vitrine":
        frame, level = frame.f_back, level + 1
    return level


# Finding what may be meant


def _parts(content: Mapping[str, Any], container: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Any]]]:
    """Mappings that hold tensors by name, each with the dotted keys under which it stands."""
    part = {key: value for key, value in content.items() if isinstance(key, str)}
    if any(isinstance(value, Tensor) for value in part.values()):
        yield container, part
    for key, value in part.items():
        if isinstance(value, Mapping) and depth:
            yield from _parts(value, f"{container}.{key}" if container else key, depth - 1)


def _readings(content: Mapping[str, Any], wanted: Mapping[str, Any], *, rename: bool) -> list[Reading]:
    """All readings under prefixes that stand before all of the network's names, or else the one that comes nearest."""
    readings = []
    for container, part in _parts(content):
        names = {name: _unwrapped(name) for name in part} if rename else {name: name for name in part}
        if rename and (all(key == name for key, name in names.items()) or len(set(names.values())) < len(names)):
            continue
        state = {names[key]: value for key, value in part.items()}
        found = _prefixes(state, wanted)
        count = sum(map(_is_needed, wanted))
        full = [prefix for prefix, seen in found.items() if seen == count]
        for prefix in full or [max(found, key=lambda one: found[one], default="")]:
            inner = tuple(one for one in full if one != prefix and one.startswith(prefix))
            readings.append(replace(_reading(state, prefix, inner, wanted), container=container, renamed=rename))
    return readings


def _unwrapped(name: str) -> str:
    parts = OF_OLD_DENSENETS.sub(r"\1", name).split(".")
    return ".".join(part for part in parts if part not in WRAPPERS)


def _is_needed(name: str) -> bool:
    # Older checkpoints lack this counter, which nothing at inference reads; load_state_dict fills it in.
    return not name.endswith("num_batches_tracked")


def _prefixes(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> Counter[str]:
    """How many of the network's names stand behind each prefix."""
    found = Counter[str]()
    for name in state:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        found.update(name[:start] for start in starts if name[start:] in wanted and _is_needed(name))
    return found


def _reading(state: Mapping[str, Any], prefix: str, inner: tuple[str, ...], wanted: Mapping[str, Any]) -> Reading:
    """What stands under a prefix, without what stands under inner ones that give a reading of their own."""
    under = {
        name[len(prefix) :]: value
        for name, value in state.items()
        if name.startswith(prefix) and not (inner and name.startswith(inner))
    }
    taken = {name: value for name, value in under.items() if isinstance(value, Tensor) or name in wanted}
    return Reading(
        prefix=prefix,
        state=taken,
        left_out=sum(isinstance(value, Tensor) for value in state.values()) - len(taken),
        missing=[name for name in wanted if name not in taken and _is_needed(name)],
        surplus=[name for name in taken if name not in wanted],
        other_shapes=[
            name for name, value in taken.items() if name in wanted and _shape(value) != _shape(wanted[name])
        ],
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _with_num_classes(reading: Reading, wanted: Mapping[str, Any], model: nn.Module) -> Reading:
    """Says how many logits the file has, where all shapes that differ do so in the number of logits alone."""
    if reading.missing or reading.surplus or not reading.other_shapes:
        return reading
    try:
        weight = f"{classifier_layer(model)}.weight"
    except ValueError:
        return reading
    if weight not in reading.other_shapes:
        return reading
    here, there = wanted[weight].shape[0], _shape(reading.state[weight])
    for name in reading.other_shapes:
        first, *rest = _shape(reading.state[name]) or (0,)
        if first != (there or (0,))[0] or wanted[name].shape[0] != here or rest != list(wanted[name].shape[1:]):
            return reading
    return replace(reading, num_classes=(there or (0,))[0] or None)


def _different(readings: list[Reading]) -> list[Reading]:
    """Readings without those that equal an earlier one."""
    kept: list[Reading] = []
    for one in readings:
        if not any(_equal(one.state, other.state) for other in kept):
            kept.append(one)
    return kept


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name])
        for name, value in one.items()
        if isinstance(value, Tensor) and value.dtype == other[name].dtype
    )


# What is told


def _ambiguous(fitting: list[Reading], path: Path) -> str:
    told = " and ".join(one.described or "the tensors that it holds as they are" for one in fitting[:3])
    return (
        f"Weight file {path} holds {len(fitting)} state dicts that fit the network: {told}; save the one that you mean"
        " alone."
    )


def _doubt(name: str) -> str:
    """What is likely to be wrong where a tensor has another shape, by its name."""
    if "pos" in name.rpartition(".")[2] or "position" in name:
        return "is the image size among backbone.arguments that of the file?"
    if any(part in name for part in ("patch_embed", "stem.", "conv1.", "conv_proj", "embeddings.")):
        return "are the input channels among backbone.arguments those of the file?"
    return "is num_classes right?"


def _does_not_fit(nearest: Reading | None, wanted: Mapping[str, Any], path: Path) -> str:
    if nearest is None:
        return f"Weight file {path} does not hold a state dict, tensors by name; save model.state_dict()."
    where = f" in {nearest.described}" if nearest.described else ""
    if nearest.missing:
        near = ", ".join(map(repr, near_names(nearest.missing[0], nearest.surplus or nearest.state, 3)))
        what = f"it lacks {nearest.missing[0]!r}{where}" + (f"; its nearest names are {near}" if near else "")
    elif nearest.surplus:
        near = ", ".join(map(repr, near_names(nearest.surplus[0], wanted, 3)))
        what = f"it has {nearest.surplus[0]!r}{where}, which the network does not; its nearest names are {near}"
    else:
        name = nearest.other_shapes[0]
        shapes = [_shape(nearest.state[name]), _shape(wanted[name])]
        what = f"{name!r} has shape {shapes[0]} there and {shapes[1]} here; {_doubt(name)}"
    counts = f" ({len(nearest.missing)} names missing, {len(nearest.surplus)} too many)"
    return f"Weight file {path} does not fit the network: {what}{'' if what.endswith('?') else counts + '.'}"
