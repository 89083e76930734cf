"""Weight files: state dicts read from .safetensors, .pth and .pt, and loaded strictly."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHT_FILE_SUFFIXES = {".pth", ".pt", ".safetensors"}


def recorded_num_classes(path: Path | None) -> int | None:
    """The number of classes that a ``.safetensors`` file says that it has; None where it says nothing."""
    recorded = _metadata(path).get("num_classes")
    return None if recorded is None else int(recorded)


def recorded_classes(path: Path | None) -> list[str]:
    """The class names that a ``.safetensors`` file says that it has, by logit; empty where it says nothing."""
    return _metadata(path).get("classes", "").splitlines()


def _metadata(path: Path | None) -> dict[str, str]:
    if path is None or path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return {}  # reading the tensors will say what is wrong


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a local state dict into a model, strictly.

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it is no state dict, or not this model's.
    """
    state = read_state_dict(path)
    _check_fit(model.state_dict(), state, path)
    model.load_state_dict(state)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from ``.safetensors``, or from ``.pth`` / ``.pt`` without running what is pickled in it.

    Raises:
        FileNotFoundError: where the file does not exist.
        ValueError: where it holds anything but tensors by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Weight file {path} does not exist.")
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise ValueError(f"Weight file {path} cannot be read as a state dict: {_first_line(error)}") from error
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise ValueError(f"Weight file {path} holds more than tensors; save model.state_dict() alone.") from error
        raise
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"Weight file {path} does not hold a state dict; save model.state_dict().")
    return dict(state)


def _check_fit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    # Older checkpoints lack this counter, which nothing at inference reads; load_state_dict fills it in.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    surplus = [key for key in state if key not in expected]
    if missing or surplus:
        what = f"lacks {missing[0]!r}" if missing else f"has {surplus[0]!r}, which the network does not"
        raise ValueError(
            f"Weight file {path} does not fit the network: it {what}"
            f" ({len(missing)} keys missing, {len(surplus)} too many)."
        )
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise ValueError(
                f"Weight file {path} does not fit the network: {key!r} has shape {tuple(value.shape)} there and"
                f" {tuple(expected[key].shape)} here; is num_classes right?"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
