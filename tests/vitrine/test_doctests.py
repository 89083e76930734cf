"""The examples in docstrings of the package give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "vitrine").rglob("*.py"))


def with_examples() -> list[str]:
    """The modules whose source has an example, found without importing any; ``__init__`` as the package itself."""
    files = [path for path in FILES if ">>> " in (ROOT / path).read_text(encoding="utf-8")]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]


@pytest.mark.parametrize("name", with_examples())
def test_examples_of_a_module(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each example starts with the module's names and writes into a folder of its own."""
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    told: list[str] = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(example, out=told.append)
    assert not runner.failures, "".join(told)
    assert runner.tries, f"{name} has '>>> ' outside of docstrings of its own"
