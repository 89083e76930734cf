import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The fakes of ``explaining_fakes.py``, which also runs as a script and so is loaded by its path."""
    spec = importlib.util.spec_from_file_location("explaining_fakes", Path(__file__).with_name("explaining_fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def two_runs(run_script: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same fit, test and prediction in one process and in two."""
    script = Path(__file__).with_name("explaining_fakes.py")
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for devices, folder in enumerate(folders, start=1):
        done = run_script(script, folder, devices, cwd=folder)
        (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folders
