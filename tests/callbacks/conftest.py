from pathlib import Path

import pytest

from tests.helpers.explaining_fakes import explaining_run
from tests.helpers.ranks import RankPool


@pytest.fixture(scope="session")
def two_runs(ranks: RankPool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same fit, test and prediction in one process and in two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    explaining_run(0, one, 1)
    printed = ranks.run(explaining_run, two, 2)
    (two / "stdout.txt").write_text("".join(printed), encoding="utf-8")
    return one, two
