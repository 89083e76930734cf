import importlib.util
from pathlib import Path
from types import ModuleType

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
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same fit, test and prediction in one process and in two."""
    import os
    import subprocess
    import sys

    script, root = Path(__file__).with_name("explaining_fakes.py"), Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for devices, folder in enumerate(folders, start=1):
        done = subprocess.run(
            [sys.executable, str(script), str(folder), str(devices)],
            env=os.environ | {"PYTHONPATH": paths},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    return folders
