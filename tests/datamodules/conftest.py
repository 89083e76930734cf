import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The fakes of ``shard_fakes.py``, which also runs as a script and so is loaded by its path."""
    spec = importlib.util.spec_from_file_location("shard_fakes", Path(__file__).with_name("shard_fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def few(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """43 training images in three shards, 11 test images in one."""
    shards: Path = fakes.write_split(tmp_path_factory.mktemp("few") / "set", "train", 43, 17)
    return Path(fakes.write_split(shards, "test", 11))


@pytest.fixture(scope="session")
def many(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 training images and 97 test images, two in each shard."""
    shards: Path = fakes.write_split(tmp_path_factory.mktemp("many") / "set", "train", 150, 2)
    return Path(fakes.write_split(shards, "test", 97, 2))
