"""A written split, and edits that break it in one place each."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitrine.data.shards.verifier import verify

Members = list[tuple[str, bytes]]


SHARD = "shard-000000.tar"


def problems(folder: Path) -> list[str]:
    return verify(folder, workers=1).problems


def edit_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    entries = json.loads((folder / "index.json").read_text())
    change(entries)
    (folder / "index.json").write_text(json.dumps(entries))


def edit_shard(folder: Path, change: Callable[[Members], Members]) -> None:
    """Rewrites the first shard's members and its checksum, so that the members alone are wrong."""
    path = folder / SHARD
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for name, data in change(members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_index(folder, lambda entries: entries["shards"][0].update(sha256=digest))


def edit_record(folder: Path, **changes: Any) -> None:
    def change(members: Members) -> Members:
        (image, (name, text), *others) = members
        return [image, (name, json.dumps({**json.loads(text), **changes}).encode()), *others]

    edit_shard(folder, change)
