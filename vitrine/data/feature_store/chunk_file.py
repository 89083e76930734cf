"""Chunk files of a feature store: safetensors with a checksum of all their bytes, written whole and mapped into memory."""

import hashlib
import json
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

_TYPES: Mapping[str, tuple[type[np.generic], torch.dtype]] = {
    "F32": (np.float32, torch.float32),
    "F16": (np.float16, torch.float16),
    "BF16": (np.int16, torch.bfloat16),  # numpy knows no bfloat16
    "I64": (np.int64, torch.int64),
    "U8": (np.uint8, torch.uint8),
}
"""As numpy and torch read the types that a header names."""

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
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    return _other_shape(found, shapes) or (None if unsound is None else f"has {unsound} that are not finite")


def _other_shape(found: Shapes, shapes: Shapes) -> str | None:
    for name, (dtype, shape) in shapes.items():
        if found[name] != (dtype, shape):
            return f"has {name} of {found[name][0]} {found[name][1]}, not {dtype} {shape}"
    return None


def open_chunk(path: Path, shapes: Shapes | None = None) -> ChunkArrays:
    """Maps a chunk file into memory, of which nothing but its header is read.

    Args:
        path: of the file.
        shapes: type and shape that its tensors have to have.

    Raises:
        FileNotFoundError: where it does not exist.
        ValueError: where it is damaged.
    """
    remedy = "fit again, which computes it anew"
    try:
        # Not by safetensors, which has the whole of the file read as soon as it is asked for a tensor.
        with path.open("rb") as file:
            start, size = 8 + int.from_bytes(file.read(8), "little"), path.stat().st_size
            entries = json.loads(file.read(min(start, size) - 8))
        # By torch, whose mapping keeps no file open, as numpy's does: a process may have a thousand of them and no more.
        data = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
        arrays = {name: _array(data[start:], entries[name]) for name in ChunkArrays._fields}
        found = {
            name: (_TYPES[entry["dtype"]][1], tuple(entry["shape"]))
            for name, entry in entries.items()
            if name in arrays
        }
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} of a feature store is gone; {remedy}.") from None
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} of a feature store is damaged ({error}); {remedy}.") from error
    if other := _other_shape(found, shapes or {}):
        raise ValueError(f"{path} of a feature store {other}; {remedy}.")
    keys = arrays["keys"]  # (n, longest) bytes, of which numpy leaves zeros at the end out
    return ChunkArrays(**arrays | {"keys": keys.view(f"S{keys.shape[1]}")[:, 0]})


def _array(data: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    """A tensor of the bytes behind a header, as an entry of the header says it."""
    first, last = entry["data_offsets"]
    return data[first:last].view(_TYPES[entry["dtype"]][0]).reshape(entry["shape"])


def _sum_place(data: bytearray) -> int | None:
    """Where the checksum stands in the header."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    field = f'"{_ENTRY}":"'.encode()
    start = data.find(field, 8, min(header_end, len(data)))
    return None if start < 0 else start + len(field)
