import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fakes() -> ModuleType:
    """The fakes of ``mu_lasso_fakes.py``, which also runs as a script and so is loaded by its path."""
    spec = importlib.util.spec_from_file_location("mu_lasso_fakes", Path(__file__).with_name("mu_lasso_fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def srae_fakes() -> ModuleType:
    """The fakes of ``srae_fakes.py``, which also runs as a script and so is loaded by its path."""
    spec = importlib.util.spec_from_file_location("srae_fakes", Path(__file__).with_name("srae_fakes.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
