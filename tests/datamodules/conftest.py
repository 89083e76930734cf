from pathlib import Path

import pytest

from datamodules.split import Split
from tests.helpers.shard_fakes import write_split


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """43 training images in three shards, 11 test images in one."""
    shards = write_split(tmp_path_factory.mktemp("few") / "set", "train", 43, 17)
    return write_split(shards, "test", 11)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 training images and 97 test images, two in each shard."""
    shards = write_split(tmp_path_factory.mktemp("many") / "set", "train", 150, 2)
    return write_split(shards, "test", 97, 2)


@pytest.fixture
def split(few: Path) -> Split:
    """The 43 training images."""
    return Split.read(few / "train")
