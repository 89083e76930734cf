"""Weight files: tensors read from .safetensors, .pth, .ckpt and the like without unpickling, and loaded into a network."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from vitrine.backbones.state_readings import find_reading, take_over

WEIGHT_FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar", ".tar")
"""Ends of the names of weight files, in lower case."""
CONFIGURATION = "hf_config"
"""Entry of a weight file's metadata that holds the configuration of a Hugging Face network."""
PREPROCESSING = "preprocessing"
"""Entry that holds how images were prepared, in JSON, by the options of `vitrine.data.preprocessing.Preprocessing`."""


def is_weight_file(name: str) -> bool:
    """Whether a text names a local file of weights, rather than an entry of a public table."""
    return name.lower().endswith(WEIGHT_FILE_SUFFIXES)


def recorded_num_classes(path: Path | None) -> int | None:
    """The number of classes that a ``.safetensors`` file says that it has; None where it says nothing that makes sense."""
    recorded = _metadata(path).get("num_classes", "")
    return int(recorded) if re.fullmatch(r"[1-9]\d{0,8}", recorded) else None


def recorded_classes(path: Path | None) -> list[str]:
    """The class names that a ``.safetensors`` file says that it has, by logit; empty where it says nothing."""
    recorded = _metadata(path).get("classes", "")
    return recorded.split("\n") if recorded else []


def recorded_configuration(path: Path | None) -> dict[str, Any] | None:
    """The configuration of a Hugging Face network that a ``.safetensors`` file of weights holds; None without."""
    return _recorded_entries(path, CONFIGURATION)


def recorded_preprocessing(path: Path | None) -> dict[str, Any] | None:
    """How the images were prepared that a ``.safetensors`` file of weights was trained on; None where it says nothing."""
    return _recorded_entries(path, PREPROCESSING)


def _recorded_entries(path: Path | None, name: str) -> dict[str, Any] | None:
    recorded = _metadata(path).get(name)
    try:
        content = json.loads(recorded) if recorded else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _metadata(path: Path | None) -> dict[str, str]:
    if path is None or path.suffix.lower() != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}  # reading the tensors will say what is wrong


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a local file into a model, strictly: exactly one reading of it has to fit (`find_reading`).

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it holds no tensors by name, not this model's, or such that make no sense.
    """
    reading = find_reading(read_weight_file(path), model, path)
    take_over(model, reading, path)


def read_weight_file(path: Path) -> dict[str, Any]:
    """All that a file holds by name: tensors, or mappings that hold some. What is pickled in it is never run.

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it cannot be read, holds objects other than tensors and plain values, or none by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Weight file {path} does not exist.")
    try:
        content = load_file(path) if _is_safetensors(path) else _loaded(path)
    except Exception as error:  # torch.load and its unpickler raise errors of many types for damaged files
        raise ValueError(f"Weight file {path} {_why_unreadable(error)}.") from error
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor | Mapping) for value in content.values()):
        raise ValueError(f"Weight file {path} does not hold a state dict; save model.state_dict().")
    return {key: value for key, value in content.items() if isinstance(key, str)}


def _loaded(path: Path) -> Any:
    with path.open("rb") as file:  # by its name, torch would read one that ends in .safetensors as such
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """By what the file begins with: archives and pickles of torch under any name are read as what they are."""
    with path.open("rb") as file:
        start = file.read(9)
    is_torch = start.startswith((b"PK", b"\x80"))
    return start[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not is_torch)


def _why_unreadable(error: Exception) -> str:
    text = str(error).strip()
    remedy = "save the state dict alone: torch.save(model.state_dict(), FILE)"
    if "TorchScript" in text:
        return f"is a TorchScript archive, which is code; {remedy}"
    if type(error).__name__ == "UnpicklingError" and (name := re.search(r"GLOBAL ([\w.]+)", text)):
        return f"holds more than tensors and plain values, namely {name[1]}, which is not unpickled; {remedy}"
    if type(error).__name__ == "UnpicklingError" and "nsupported" in text:
        return f"holds more than tensors and plain values; {remedy}"
    shown = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    return f"cannot be read as a state dict: {shown}"
