"""Space on the disk: a full disk is one sentence, and leaves nothing."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrine.data.feature_store.disk_space import check_space, reserve, told_where_full

FILL_A_TINY_DISK = """
import sys
from pathlib import Path
from tests.helpers.store_fakes import CPU, Sums, batch_of, store_of
from vitrine.data.feature_store import disk_space, store
store.check_space = lambda *_: None  # the disk gets full after it was looked at
cache = Path("{folder}/features")
filled = store_of(cache, 640)
filled.create(4, 2, (), chunk_rows=64)
Path("{folder}/other").write_bytes(bytes(1000 * 1024))
chunks = filled.missing_chunks()
try:
    filled.fill(chunks, map(batch_of, filled.batches_of(chunks, 64)), Sums(), CPU)
except ValueError as error:
    print(error)
print(sorted(path.name for path in filled.folder.iterdir() if "partial" in path.name), 10 - len(filled.missing_chunks()))
"""


def test_a_disk_that_is_full_in_fact(tmp_path: Path) -> None:
    script = FILL_A_TINY_DISK.format(folder=tmp_path)
    mount = f'mount -t tmpfs -o size=1m none {tmp_path} && exec "$0" -c "$1"'
    command = ["unshare", "-Urm", "sh", "-c", mount, sys.executable, script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no disk of one's own: {done.stderr.strip()}")
    sentence, rest = done.stdout.splitlines()
    assert f"disk of {tmp_path}/features/" in sentence
    assert "features.folder" in sentence
    left, whole = rest.rsplit(" ", 1)
    assert left == "[]"
    assert 0 < int(whole) < 10


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_when_space_is_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(ValueError, match=rf"disk of {tmp_path} is full: .* 5 kB .* are free; .*prune.*dtype"):
        reserve(tmp_path / "file", 5000)


def test_a_file_system_that_cannot_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    reserve(tmp_path / "file", 3 * 2**20 + 1)
    assert (tmp_path / "file").read_bytes() == bytes(3 * 2**20 + 1)


def test_space_is_reserved_in_fact(tmp_path: Path) -> None:
    reserve(tmp_path / "file", 2**20)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 2**20


def test_what_does_not_fit_at_all(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(ValueError, match=r"need 5\.5 TB"):
        check_space(tmp_path, 5_500_000_000_000)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), told_where_full(tmp_path, 1):
        raise PermissionError(errno.EACCES, "denied")
