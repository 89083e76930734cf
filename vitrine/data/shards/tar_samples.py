"""Samples in a tar file by offset: where each of them stands, so that any one is read without the others.

A sample is a run of members whose names are alike up to the first dot of the file name, as webdataset groups them.
"""

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_FILE_TYPES = {b"0", b"\0"}
MAX_SAMPLE_BYTES = 512 * 2**20
"""Of all members of a sample together: the largest picture that is decoded takes half of that as plain pixels."""
_MAX_HEADER_BYTES = 2**20  # of an extended header, which is read whole
Read = Callable[[int, int], bytes]
"""Gives at most as many bytes, from an offset on: ``read(offset, count)``."""


class ShardError(ValueError):
    """One sentence about a shard that cannot be read."""


class _Member(NamedTuple):
    name: str
    start: int
    """Of its header."""
    data: int
    """Where its bytes begin."""
    size: int


@dataclass(frozen=True)
class SampleOffsets:
    """Where the samples of a tar file stand.

    Args:
        starts: (n,) offset of each sample's first header.
        ends: (n,) offset behind each sample's last byte.
        problem: why the file could not be read any further, where it could not. The last sample before that is left out,
            since the damage may hide some of its members.
        repeated: the first key that two samples have, where there is one.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    problem: str | None = None
    repeated: str | None = None

    def __len__(self) -> int:
        return len(self.starts)


def find_samples(descriptor: int) -> SampleOffsets:
    """Reads the headers of an open tar file.

    Raises:
        ShardError: for a compressed file, in which nothing can be found by its offset.
    """
    size = os.fstat(descriptor).st_size
    kind = _COMPRESSED.get(os.pread(descriptor, 2, 0))
    if kind is not None:
        raise ShardError(f"is compressed ({kind}), so that its samples cannot be read one by one; decompress it")
    starts: list[int] = []
    ends: list[int] = []
    problem, repeated = None, None
    keys: set[str] = set()
    try:
        for key, members in groupby(_members(lambda at, count: os.pread(descriptor, count, at), size), _key):
            first, *others = members
            repeated = key if repeated is None and key in keys else repeated
            keys.add(key)
            starts.append(first.start)
            last = others[-1] if others else first
            ends.append(last.data + last.size)
    except tarfile.TarError as error:
        problem = str(error)
    return SampleOffsets(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), problem, repeated)


def read_sample(descriptor: int, start: int, end: int) -> tuple[str, dict[str, bytes]]:
    """The key of a sample, and its members by extension.

    Args:
        descriptor: of the open tar file.
        start: of the sample, as `find_samples` gives it.
        end: the same.

    Raises:
        ShardError: for a sample that is too large, where the file has changed since or cannot be read, and where two
            members have one extension.
    """
    if end - start > MAX_SAMPLE_BYTES:
        raise ShardError(
            f"has a sample of {end - start} bytes at byte {start}, more than {MAX_SAMPLE_BYTES}; convert the set again"
        )
    try:
        data = _read_all(descriptor, start, -(-(end - start) // BLOCK) * BLOCK)  # with the padding, where it is there
        data = data if len(data) % BLOCK == 0 else data + bytes(-len(data) % BLOCK)
        members = list(_members(lambda at, count: data[at : at + count], len(data)))
    except (tarfile.TarError, OSError) as error:
        raise ShardError(f"has no whole sample at byte {start} any more ({error})") from error
    key = _key(members[0]) if members else ""
    contents: dict[str, bytes] = {}
    for one in members:
        extension = _split_name(one.name)[1]
        if extension in contents:
            raise ShardError(f"has two members .{extension} of the sample {key!r}")
        contents[extension] = data[one.data : one.data + one.size]
    return key, contents


def read_member(descriptor: int, start: int, end: int, extension: str) -> tuple[str, bytes | None]:
    """The key of a sample, and its member of one extension, without reading the others; None where it has none.

    Raises:
        ShardError: where the file has changed since, or cannot be read.
    """
    try:
        size = -(-(end - start) // BLOCK) * BLOCK
        members = list(_members(lambda at, count: _read_all(descriptor, start + at, min(count, size - at)), size))
        key = _key(members[0]) if members else ""
        found = next((one for one in members if _split_name(one.name)[1] == extension), None)
        return key, None if found is None else _read_all(descriptor, start + found.data, found.size)
    except (tarfile.TarError, OSError) as error:
        raise ShardError(f"has no whole sample at byte {start} any more ({error})") from error


def _read_all(descriptor: int, start: int, count: int) -> bytes:
    """As ``os.pread``, which may give less than it was asked for."""
    parts: list[bytes] = []
    while count and (part := os.pread(descriptor, count, start)):
        parts.append(part)
        start, count = start + len(part), count - len(part)
    return b"".join(parts)


def _members(read: Read, size: int) -> Iterator[_Member]:
    """The files of a tar that belong to samples, in order."""
    try:
        members = list(_plain_members(read, size))
    except _ExtendedHeaderError:
        members = _extended_members(read, size)
    except _TruncatedError as error:
        yield from _of_samples(error.members)
        raise
    yield from _of_samples(members)


def _of_samples(members: list[_Member]) -> Iterator[_Member]:
    for member in members:
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise _TruncatedError(f"the member {member.name!r} is outside of the archive", [])
        if _key(member):
            yield member


class _ExtendedHeaderError(Exception):
    """A header that says more of the next one, such as a long name."""


class _TruncatedError(tarfile.TarError):
    def __init__(self, message: str, members: list[_Member]) -> None:
        super().__init__(message)
        self.members = members


def _plain_members(read: Read, size: int) -> list[_Member]:
    """Members of a tar of plain headers; reading these alone is several times as fast as Python's reader of all kinds."""
    members: list[_Member] = []
    position = 0
    while position < size:
        header = read(position, BLOCK)
        if header.count(0) == len(header):
            break
        try:
            count = _plain_size(header)
        except ValueError:
            raise _TruncatedError(f"no header at byte {position}", members) from None
        data = position + BLOCK
        if data + count > size:
            raise _TruncatedError("unexpected end of data", members)
        if header[156:157] in _FILE_TYPES:
            members.append(_Member(_plain_name(header), position, data, count))
        elif header[156:157] != tarfile.DIRTYPE:
            raise _ExtendedHeaderError
        position = data + -(-count // BLOCK) * BLOCK
    if position > size:
        raise _TruncatedError("unexpected end of data", members)
    return members


def _plain_size(header: bytes) -> int:
    """Bytes of the member that a header describes; ValueError where it is no header."""
    if len(header) < BLOCK or _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise ValueError
    if header[124] & 0x80:
        raise _ExtendedHeaderError
    return _octal(header[124:136])


def _octal(field: bytes) -> int:
    """The number in a field of a header; a sign, by which a reader would go back and never end, is none."""
    digits = field.strip(b"\0 ") or b"0"
    if not digits.isdigit():
        raise ValueError
    return int(digits, 8)


def _plain_name(header: bytes) -> str:
    name, prefix = header[:100].partition(b"\0")[0], b""
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
    return (prefix + b"/" + name if prefix else name).decode(errors="surrogateescape")


def _extended_members(read: Read, size: int) -> list[_Member]:
    """Members of any tar; a link or a device among them is where reading ends."""
    members: list[_Member] = []
    position = 0
    try:
        with tarfile.open(fileobj=_ReadableRange(read, size), mode="r:", encoding="utf-8") as tar:
            for one in tar:
                if one.offset < position or one.size < 0:
                    raise tarfile.ReadError(f"the header of {one.name!r} has a negative size")
                position = one.offset_data
                if one.isfile() and not one.issparse():
                    members.append(_Member(one.name, one.offset, one.offset_data, one.size))
                    if one.offset_data + one.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                elif not one.isdir():
                    raise tarfile.ReadError(f"the member {one.name!r} is a link or a device in place of a file")
    except (tarfile.TarError, ValueError, OverflowError, OSError, RecursionError) as error:
        kept = [one for one in members if one.data + one.size <= size]
        raise _TruncatedError(str(error), kept) from error
    return members


class _ReadableRange(BytesIO):
    """A file over a function that reads."""

    def __init__(self, read: Read, size: int) -> None:
        super().__init__()
        self._read, self._size, self._at = read, size, 0

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self._size - self._at, 0)
        count = left if size is None or size < 0 else min(size, left)
        if count > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {count} bytes at byte {self._at}")
        data = self._read(self._at, count)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _key(member: _Member) -> str:
    return _split_name(member.name)[0]


def _split_name(name: str) -> tuple[str, str]:
    """Key and extension of a member; both empty for one that belongs to no sample."""
    folder, slash, file = name.rpartition("/")
    stem, dot, extension = file.partition(".")
    return (folder + slash + stem, extension.lower()) if stem and dot else ("", "")
