"""The files of a saved explainer: ``explainer.json`` and its tensors, read and checked."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitrine.data.shards.documents import unique_entries
from vitrine.explainers.saving import CONFIG_NAME, FORMAT_VERSION, HEADS_NAME

T = TypeVar("T")

LARGEST = 64 * 2**20
"""Bytes of the largest file that is read; one with a million class names is smaller."""
LONGEST = 10_000
"""Characters of a text."""
DEEPEST = 32
"""Lists and mappings within each other."""
ENTRIES: Mapping[str, tuple[str, tuple[type | None, ...]]] = {
    "explainer": ("a text", (str,)),
    "options": ("keys with values", (dict,)),
    "classes": ("a list of texts", (list,)),
    "backbone": ("keys with values", (dict,)),
    "weight_digest": ("a text of 64 hexadecimal digits", (str,)),
    "preprocessing": ("null, or size, resize, mean and std", (dict, None)),
}
"""What each entry that has to be there is, in words and types."""
FURTHER: Mapping[str, tuple[str, tuple[type | None, ...]]] = {
    "class_path": ("a text", (str,)),
    "backbone_arguments": ("a text, or null", (str, None)),
    "multi_label": ("true or false", (bool,)),
}
"""The same of those that earlier releases did not write."""
NOT_READ = ("metadata", "facts")
"""Entries for people, in which figures may be infinite or NaN."""


def read_config(folder: Path) -> dict[str, Any]:
    """Reads and checks ``explainer.json``.

    Raises:
        FileNotFoundError: where the folder holds no explainer.
        ValueError: where the file is no such JSON, with what is wrong.
    """
    for path in (folder / CONFIG_NAME, folder / HEADS_NAME):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; give the folder that an explainer was saved to.")
    path = folder / CONFIG_NAME
    config = _parsed(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, not keys with values; save the explainer again.")
    version = config.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ValueError(f"{path} has format version {str(version)[:100]}, this release reads {FORMAT_VERSION}.")
    for name, (wanted, kinds) in {**ENTRIES, **FURTHER}.items():
        if name in config or name in ENTRIES:
            _check_entry(path, config, name, wanted, kinds)
    _check_plain(path, {name: value for name, value in config.items() if name not in NOT_READ})
    return config


def read_heads(folder: Path) -> dict[str, Tensor]:
    """Reads the learned tensors.

    Raises:
        ValueError: where the file is damaged.
    """
    try:
        return load_file(folder / HEADS_NAME)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{folder / HEADS_NAME} cannot be read: {first_line(error)}; save the explainer again."
        ) from error


def made(folder: Path, entry: str, make: Callable[[], T]) -> T:
    """What is made of an entry of ``explainer.json``, its errors as one sentence that names the file and the entry."""
    try:
        return make()
    except (OSError, ImportError):
        raise
    except Exception as error:  # entries may be anything, and options of one's own may raise anything
        raise ValueError(f"{folder / CONFIG_NAME}: {entry}: {first_line(error)}.") from error


def first_line(error: Exception) -> str:
    """An error's first line, without the full stop, and not without end."""
    lines = str(error).strip().splitlines()
    told = (lines[0] if lines else "").rstrip(".")
    kind = "" if isinstance(error, ValueError) and told else f"{type(error).__name__}: "
    return f"{kind}{told if len(told) <= 600 else told[:600] + '…'}"


def _parsed(path: Path) -> Any:
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes, more than the {LARGEST} that such a file may have.")
    try:
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=unique_entries)
    except RecursionError:
        raise ValueError(f"{path} is not valid JSON of an explainer: it is nested too deeply.") from None
    except ValueError as error:  # no JSON, no UTF-8, a name twice, or a number of thousands of digits
        raise ValueError(f"{path} is not valid JSON: {first_line(error)}.") from error


def _check_entry(path: Path, config: Mapping[str, Any], name: str, wanted: str, kinds: tuple[type | None, ...]) -> None:
    if name not in config:
        raise ValueError(f"{path} has no {name!r}; save the explainer again.")
    value = config[name]
    fits = any(value is None if kind is None else isinstance(value, kind) for kind in kinds)
    if name == "classes":
        fits = fits and all(isinstance(one, str) for one in value)
    elif isinstance(value, str):
        is_digest = re.fullmatch("[0-9a-f]{64}", value) is not None
        fits = fits and len(value) <= LONGEST and (is_digest or name != "weight_digest")
    elif name == "preprocessing" and isinstance(value, dict):
        fits = {"size", "resize", "mean", "std"} <= value.keys()
    if not fits:
        raise ValueError(f"{path}: {name} is {json.dumps(value)[:100]}; it has to be {wanted}.")


def _check_plain(path: Path, config: Mapping[str, Any]) -> None:
    """Refuses what no explainer is saved with: NaN, infinity, half characters, and values within values without end."""
    todo: list[tuple[str, Any, int]] = [(name, value, 1) for name, value in config.items()]
    while todo:
        name, value, depth = todo.pop()
        if depth > DEEPEST:
            raise ValueError(f"{path}: {name} is nested more than {DEEPEST} deep; save the explainer again.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{path}: {name} holds {value}; it has to be a finite number.")
        if isinstance(value, str) and ("\0" in value or not _is_text(value)):
            raise ValueError(
                f"{path}: {name} holds the text {ascii(value)[:100]}, which is none; save the explainer again."
            )
        if isinstance(value, dict):
            todo += [(name, one, depth + 1) for entry in value.items() for one in entry]
        elif isinstance(value, list):
            todo += [(name, one, depth + 1) for one in value]


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
