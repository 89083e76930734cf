"""Manifest of a feature store: what it depends on, what it holds, and how its rows are divided into chunks."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from vitrine.core.atomic_io import atomic_file

MANIFEST = "manifest.json"
STORE_FORMAT = 2
"""Raised when the files of a store change; earlier stores are not read."""
EXTRACTION_VERSION = 3
"""Raised when the code that computes features changes so that features differ; earlier stores are no hits then."""

FeatureType = Literal["float32", "float16", "bfloat16"]
MAX_CHUNK_BYTES = 32 * 2**20
MIN_CHUNK_ROWS, MAX_CHUNK_ROWS = 64, 4096
CHUNKS_OF_A_SPLIT = 256
"""Chunks that a split has where nothing else decides: enough to share out over ranks, and little is lost by a kill."""
KEY_BYTES = 128
"""Bytes that are set aside for the key of a sample; longer ones are kept whole nevertheless."""


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    Args:
        depends_on: all that the features depend on, as text by name.
        rows: number of samples.
        chunk_rows: samples in each chunk, but for the last.
        width: d, number of features of a sample.
        classes: C, number of logits.
        label_shape: shape of a sample's label.
        dtype: in which features are stored; logits are stored in float32.
        belongs_to: what the store was made for, as text by name: ``split``, ``network``, ``weights``, ``layer``.
        created: when, as an ISO date and time.
    """

    depends_on: dict[str, str]
    rows: int
    chunk_rows: int
    width: int
    classes: int
    label_shape: list[int]
    dtype: FeatureType
    belongs_to: dict[str, str] = field(default_factory=dict)
    created: str = ""
    format: int = STORE_FORMAT

    @property
    def num_chunks(self) -> int:
        """Number of chunks of a complete store."""
        return math.ceil(self.rows / self.chunk_rows)

    @property
    def torch_type(self) -> torch.dtype:
        """That of the stored features."""
        stored: torch.dtype = getattr(torch, self.dtype)
        return stored

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample's features, logits and label, and those set aside for its key."""
        return _row_bytes(self.width, self.classes, self.label_shape, self.torch_type) + KEY_BYTES

    def rows_of(self, chunk: int) -> range:
        """The rows of a chunk."""
        return range(chunk * self.chunk_rows, min((chunk + 1) * self.chunk_rows, self.rows))

    def origin_of(self, chunk: int, store: str) -> str:
        """What a chunk's file says that it holds, so that one in the wrong place is found."""
        rows = self.rows_of(chunk)
        return f"{store} rows {rows.start} to {rows.stop - 1}"

    def shapes_of(self, chunk: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of a chunk's features, logits and labels."""
        rows = len(self.rows_of(chunk))
        return {
            "features": (self.torch_type, (rows, self.width)),
            "logits": (torch.float32, (rows, self.classes)),
            "labels": (torch.float32 if self.label_shape else torch.int64, (rows, *self.label_shape)),
        }

    def write(self, folder: Path) -> None:
        """Writes ``folder/manifest.json``, with a SHA-256 of its other entries."""
        entries = asdict(self)
        with atomic_file(folder / MANIFEST) as partial:
            partial.write_text(json.dumps({**entries, "sha256": _sum_of(entries)}, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Reads ``folder/manifest.json``.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it is of another format, or damaged.
    """
    path = folder / MANIFEST
    try:
        entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        recorded, found = entries.pop("sha256", None), entries.get("format")
        if recorded == _sum_of(entries) and found == STORE_FORMAT:
            return _sound(Manifest(**{one.name: entries[one.name] for one in fields(Manifest)}))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is no feature store, it has no {MANIFEST}; a fit makes one.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        recorded, found = None, STORE_FORMAT
    what = "is damaged" if found == STORE_FORMAT else f"has format {found!r}, this release reads {STORE_FORMAT}"
    raise ValueError(f"{path} {what}; fit again, or remove the store with python -m vitrine.features prune.")


def _sound(manifest: Manifest) -> Manifest:
    """The manifest, if its numbers can be those of a store; its checksum alone does not say that."""
    sizes = [manifest.rows, manifest.chunk_rows, manifest.width, manifest.classes, *manifest.label_shape]
    texts = [*manifest.depends_on.values(), *manifest.belongs_to.values()]
    if not all(type(size) is int and size >= 0 for size in sizes) or manifest.chunk_rows < 1:
        raise ValueError(sizes)
    if manifest.dtype not in get_args(FeatureType) or not all(isinstance(text, str) for text in texts):
        raise ValueError(manifest.dtype)
    return manifest


def _sum_of(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def rows_per_chunk(rows: int, width: int, classes: int, label_shape: list[int], dtype: FeatureType) -> int:
    """Samples in a chunk: a multiple of 64, unless one of that many would be larger than ``MAX_CHUNK_BYTES``."""
    step = MIN_CHUNK_ROWS
    even = min(max(math.ceil(rows / CHUNKS_OF_A_SPLIT / step) * step, step), MAX_CHUNK_ROWS)
    fitting = MAX_CHUNK_BYTES // _row_bytes(width, classes, label_shape, getattr(torch, dtype))
    return max(min(even, fitting // step * step if fitting >= step else fitting), 1)


def _row_bytes(width: int, classes: int, label_shape: list[int], dtype: torch.dtype) -> int:
    label_bytes = 4 * math.prod(label_shape) if label_shape else 8
    return width * dtype.itemsize + classes * 4 + label_bytes
