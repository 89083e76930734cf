"""Chunk files of a feature store: safetensors with a checksum of all their bytes, written whole and mapped into memory."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vitrine.data.feature_store.disk_space import told_where_full

CHUNK_PATTERN = "chunk-[0-9]*[0-9].safetensors"
_NO_SUM = "0" * 64
_ENTRY = "chunk"
"""The one entry of the header's metadata, sum and origin: two would come in any order, and bytes would not be the same."""

Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of each tensor of a chunk, but for its keys."""


class ChunkArrays(NamedTuple):
    """What a chunk holds of its n samples, mapped into memory; bfloat16 features are seen as int16."""

    features: NDArray[Any]
    """(n, d)."""
    logits: NDArray[np.float32]
    """(n, C)."""
    labels: NDArray[Any]
    """(n,) int64 class indices, or (n, C) float32 multi-hot."""
    keys: NDArray[np.bytes_]
    """(n,) encoded keys."""


def chunk_name(number: int) -> str:
    """File name of a chunk."""
    return f"chunk-{number:06d}.safetensors"


def encode_chunk(tensors: dict[str, Tensor], keys: Sequence[str], origin: str) -> bytes:
    """The bytes of a chunk file, with the SHA-256 of all of them, taken with zeros in its own place.

    Args:
        tensors: ``features``, ``logits`` and ``labels`` of n samples.
        keys: of the samples.
        origin: what the chunk holds, as `Manifest.origin_of` says it.
    """
    encoded = [key.encode(errors="surrogateescape") for key in keys]
    text = np.array(encoded, dtype=f"S{max(map(len, [*encoded, b'0']))}")
    as_bytes = torch.from_numpy(text.view(np.uint8).reshape(len(encoded), -1))
    about = {_ENTRY: f"{_NO_SUM} {origin}"}
    data = bytearray(save({**tensors, "keys": as_bytes}, metadata=about))
    start = _sum_place(data) or 0
    data[start : start + len(_NO_SUM)] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def write_reserved(path: Path, data: bytes) -> None:
    """Writes into a file whose space was reserved, cuts it to its length, and waits until it is on the disk.

    Raises:
        ValueError: where the disk is full.
    """
    with path.open("r+b") as file, told_where_full(path.parent, len(data)):
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def chunk_damage(path: Path, origin: str) -> str | None:
    """What is wrong with a chunk file, as the end of a sentence; None where it is whole. All of it is read."""
    try:
        data = bytearray(path.read_bytes())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    start = _sum_place(data)
    if start is None:
        return "is no chunk, or its header is damaged"
    recorded = bytes(data[start : start + len(_NO_SUM)])
    data[start : start + len(_NO_SUM)] = _NO_SUM.encode()
    if hashlib.sha256(data).hexdigest().encode() != recorded:
        return "is truncated or has other bytes than were written, its SHA-256 is another"
    try:
        with safe_open(path, framework="pt") as file:
            actual = (file.metadata() or {}).get(_ENTRY, "").partition(" ")[2]
    except (SafetensorError, OSError) as error:
        return f"is no chunk ({error})"
    return None if actual == origin else f"holds {actual}, not {origin}"


def tensor_damage(path: Path, shapes: Shapes) -> str | None:
    """What is wrong with the tensors of a chunk file whose bytes are as they were written, as the end of a sentence.

    Args:
        path: of the file.
        shapes: type and shape of its tensors, as `Manifest.shapes_of` says them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError) as error:
        return f"is no chunk ({error})"
    unsound = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    return _other_shape(tensors, shapes) or (None if unsound is None else f"has {unsound} that are not finite")


def _other_shape(tensors: Mapping[str, Tensor], shapes: Shapes) -> str | None:
    for name, (dtype, shape) in shapes.items():
        tensor = tensors[name]
        if (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
            return f"has {name} of {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {shape}"
    return None


def open_chunk(path: Path, shapes: Shapes | None = None) -> ChunkArrays:
    """Maps a chunk file into memory.

    Args:
        path: of the file.
        shapes: type and shape that its tensors have to have.

    Raises:
        FileNotFoundError: where it does not exist.
        ValueError: where it is damaged.
    """
    remedy = "fit again, which computes it anew"
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in ChunkArrays._fields}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} of a feature store is gone; {remedy}.") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} of a feature store is damaged ({error}); {remedy}.") from error
    if other := _other_shape(tensors, shapes or {}):
        raise ValueError(f"{path} of a feature store {other}; {remedy}.")
    if tensors["features"].dtype == torch.bfloat16:
        tensors["features"] = tensors["features"].view(torch.int16)  # which numpy knows
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    keys = arrays["keys"]  # (n, longest) bytes, of which numpy leaves zeros at the end out
    return ChunkArrays(**arrays | {"keys": keys.view(f"S{keys.shape[1]}")[:, 0]})


def _sum_place(data: bytearray) -> int | None:
    """Where the checksum stands in the header."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    field = f'"{_ENTRY}":"'.encode()
    start = data.find(field, 8, min(header_end, len(data)))
    return None if start < 0 else start + len(field)
