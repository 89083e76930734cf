"""Chunk files: every byte is under the checksum."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import store_disk
from tests.helpers.disk_files import file_on_disk
from tests.helpers.store_fakes import flip_byte
from vitrine.data.feature_store.chunk_file import chunk_damage, encode_chunk, open_chunk, write_reserved

TENSORS = {
    "features": torch.arange(6.0).reshape(3, 2).bfloat16(),
    "logits": torch.arange(3.0)[:, None],
    "labels": torch.tensor([5, 6, 7]),
}
KEYS = ["a", "", "käse"]


@pytest.fixture
def chunk(tmp_path: Path) -> Path:
    path = tmp_path / "chunk-000000.safetensors"
    path.touch()
    write_reserved(path, encode_chunk(TENSORS, KEYS, "store rows 0 to 2"))
    return path


def test_a_chunk_is_an_ordinary_safetensors_file(chunk: Path) -> None:
    tensors = load_file(chunk)
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert [bytes(key.tolist()).rstrip(b"\0").decode() for key in tensors["keys"]] == KEYS
    arrays = open_chunk(chunk)
    assert [key.decode() for key in arrays.keys.tolist()] == KEYS
    assert arrays.labels.tolist() == [5, 6, 7]


def test_the_same_content_has_the_same_bytes() -> None:
    assert len({encode_chunk(TENSORS, KEYS, "store") for _ in range(20)}) == 1


def test_keys_without_any_bytes() -> None:
    assert encode_chunk(TENSORS, ["", "", ""], "store") != encode_chunk(TENSORS, ["", "", "a"], "store")


def test_flipped_bytes_are_found(chunk: Path) -> None:
    assert chunk_damage(chunk, "store rows 0 to 2") is None
    whole = chunk.read_bytes()
    for place in [*range(12), *range(12, len(whole), 11)]:
        flip_byte(chunk, place)
        assert chunk_damage(chunk, "store rows 0 to 2") is not None, place
        chunk.write_bytes(whole)


def test_truncations_are_found(chunk: Path) -> None:
    whole = chunk.read_bytes()
    for length in [*range(12), *range(12, len(whole), 11)]:
        chunk.write_bytes(whole[:length])
        assert chunk_damage(chunk, "store rows 0 to 2") is not None, length


def test_a_chunk_of_other_rows(chunk: Path) -> None:
    assert chunk_damage(chunk, "store rows 3 to 5") == "holds store rows 0 to 2, not store rows 3 to 5"


def test_writing_cuts_what_was_reserved_too_much(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    write_reserved(path, b"abc")
    assert path.read_bytes() == b"abc"


def test_mapped_chunks_keep_no_file_open(chunk: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    mapped = [open_chunk(chunk) for _ in range(5)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(one.labels.tolist() == [5, 6, 7] for one in mapped)


def test_opening_reads_the_header_alone(tmp_path: Path) -> None:
    path = file_on_disk(tmp_path / "chunk", 0)
    write_reserved(path, encode_chunk({**TENSORS, "features": torch.rand(3, 2**20)}, KEYS, "store rows 0 to 2"))
    store_disk.evict([path])
    arrays = open_chunk(path)
    assert store_disk.resident_share([path]) < 0.1
    assert arrays.labels.tolist() == [5, 6, 7]


@pytest.mark.parametrize("length", [0, 7, 2**62])
def test_a_header_of_another_length_is_damage(chunk: Path, length: int) -> None:
    chunk.write_bytes(length.to_bytes(8, "little") + chunk.read_bytes()[8:])
    with pytest.raises(ValueError, match=rf"{chunk} .* damaged .*fit again"):
        open_chunk(chunk)


def test_opening_what_is_damaged_or_gone(chunk: Path) -> None:
    for data in (b"", b"short"):
        (chunk.parent / "other").write_bytes(data)
        with pytest.raises(ValueError, match=r"other .* damaged .*fit again"):
            open_chunk(chunk.parent / "other")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{chunk} .* damaged .*fit again"):
        open_chunk(chunk)
    chunk.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{chunk} .* gone; fit again"):
        open_chunk(chunk)
