from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.flaky_server import Served, serving
from vitrine.data.streams import fetching


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of three small files; nobody waits between two tries."""
    monkeypatch.setattr(fetching, "FIRST_WAIT_SECONDS", 0)
    (tmp_path / "served").mkdir()
    for number in range(3):
        (tmp_path / "served" / f"{number}.tar").write_bytes(bytes([number]) * 1000)
    with serving(tmp_path / "served") as served:
        yield served
