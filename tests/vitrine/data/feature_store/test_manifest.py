"""Manifests of stores, and how rows are divided into chunks."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine.data.feature_store.manifest import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_ROWS,
    MIN_CHUNK_ROWS,
    Manifest,
    read_manifest,
    rows_per_chunk,
)

MANIFEST = Manifest({"features": "x"}, 43, 10, 4, 2, [], "float16", {"split": "train"}, "2026-01-01T00:00:00+00:00")


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert read_manifest(tmp_path) == MANIFEST


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}'])
def test_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is no feature store"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json .*vitrine\.features prune"):
        read_manifest(tmp_path)


def test_every_entry_is_under_the_checksum(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"width": 4', '"width": 5'))
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(tmp_path)


def test_another_format_is_named(tmp_path: Path) -> None:
    replace(MANIFEST, format=1).write(tmp_path)
    with pytest.raises(ValueError, match="format 1, this release reads 2"):
        read_manifest(tmp_path)


def test_rows_of_chunks() -> None:
    assert MANIFEST.num_chunks == 5
    assert [row for chunk in range(5) for row in MANIFEST.rows_of(chunk)] == list(range(43))
    assert MANIFEST.origin_of(4, "store") == "store rows 40 to 42"
    assert MANIFEST.row_bytes - replace(MANIFEST, width=5).row_bytes == -2


@given(rows=st.integers(1, 10**7), width=st.integers(1, 10**6), classes=st.integers(1, 10**4))
def test_chunks_are_neither_too_large_nor_too_many(rows: int, width: int, classes: int) -> None:
    chunk_rows = rows_per_chunk(rows, width, classes, [], "float32")
    assert 1 <= chunk_rows <= MAX_CHUNK_ROWS
    row_bytes = 4 * (width + classes) + 8
    assert chunk_rows * row_bytes <= MAX_CHUNK_BYTES or chunk_rows == 1
    if MIN_CHUNK_ROWS * row_bytes <= MAX_CHUNK_BYTES:
        assert chunk_rows % MIN_CHUNK_ROWS == 0


def test_sizes_of_chunks_of_some_sets() -> None:
    assert rows_per_chunk(43, 512, 10, [], "float32") == 64
    assert rows_per_chunk(5_994, 1280, 200, [], "float32") == 64
    assert rows_per_chunk(1_281_167, 768, 1000, [], "float32") == 4096
