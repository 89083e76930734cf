"""The how-tos of CONTRIBUTING.md: their blocks are written to the files that they name, and the tests among them are run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDERS = ("vitrine", "lightning_modules", "datamodules", "callbacks", "benchmarks", "experiments", "configs", "tests")
EXPORTING = (
    "vitrine/attribution",
    "vitrine/explainers",
    "vitrine/metrics",
    "lightning_modules",
    "datamodules",
    "callbacks",
)
"""Folders whose ``__init__.py`` exports what stands in them."""
TOPICS = (
    "An explainer", "An attribution method", "A data set", "A metric", "A backbone", "A callback", "A loss", "A solver",
    "A part of the report", "An option", "A benchmark", "A test",
)  # fmt: skip


def blocks() -> dict[str, dict[str, str]]:
    """By heading, the text of each block by the path in its first line."""
    sections = re.split(r"^### ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    pattern = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    return {section.partition("\n")[0]: dict(pattern.findall(section)) for section in sections}


def test_every_topic_has_an_example_with_a_test() -> None:
    found = blocks()
    assert tuple(found) == TOPICS
    for topic, files in found.items():
        assert any(Path(name).name.startswith("test_") for name in files), topic
    names = [name for files in found.values() for name in files]
    assert len(names) == len(set(names))
    assert not [name for name in names if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the files of all examples, and with their classes exported as the text asks for."""
    clone = tmp_path_factory.mktemp("clone")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", Path(__file__).name))
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    for name, text in (item for files in blocks().values() for item in files.items()):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text, encoding="utf-8")
        export(clone, name, text)
    return clone


def export(clone: Path, name: str, text: str) -> None:
    module = name.removesuffix(".py").replace("/", ".")
    for folder in EXPORTING:
        for exported in (
            re.findall(r"^class (\w+)\(", text, flags=re.MULTILINE) if name.startswith(f"{folder}/") else ()
        ):
            with (clone / folder / "__init__.py").open("a", encoding="utf-8") as file:
                file.write(f"\nfrom {module} import {exported}\n\n__all__ += [{exported!r}]\n")


@pytest.mark.slow
def test_the_tests_of_the_examples_pass(clone: Path) -> None:
    names = [name for files in blocks().values() for name in files if Path(name).name.startswith("test_")]
    general = ["test_train.py", "vitrine/attribution/test_every_method.py", "vitrine/test_doctests.py"]
    whole = " and ".join(f"not {Path(name).stem}" for name in general)
    chosen = f"({whole}) or flower_linear_probe or InputXGradient or input_x_gradient or maximum_in_mask or ridge or activity"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *names,
            *(f"tests/{name}" for name in general),
            "-k",
            chosen,
        ],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_yaml_of_the_examples_can_be_read() -> None:
    texts = [text for files in blocks().values() for name, text in files.items() if name.endswith(".yaml")]
    assert texts
    assert all(isinstance(yaml.safe_load(text), dict) for text in texts)


def test_the_examples_are_formatted_and_clean(clone: Path) -> None:
    names = [name for files in blocks().values() for name in files if name.endswith(".py")]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *names],
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
