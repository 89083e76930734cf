"""Classes in files: names that mean one, and modules that are imported once."""

import sys
from pathlib import Path

import pytest

from vitrine.core.class_files import absolute_name, class_in_file, file_of, module_of_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two files of the same name, one of which reads what stands beside it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net_of_a_file.py").write_text(f"from beside_{name} import WHICH\n", encoding="utf-8")
        (tmp_path / name / f"beside_{name}.py").write_text(f"WHICH = {name!r}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["package.module:Class", "timm:resnet18.py", "resnet18", ".py:Net", "timm:x.py:"])
def test_other_names(name: str) -> None:
    assert class_in_file(name) == ""
    assert absolute_name("package.module:Class") == "package.module:Class"


def test_the_name_in_any_folder(folder: Path) -> None:
    assert absolute_name("one/net_of_a_file.py:Net.Inner") == f"{folder}/one/net_of_a_file.py:Net.Inner"
    assert file_of("~/net.py:Net") == (Path.home() / "net.py").resolve()


def test_files_of_one_name_are_two_modules(folder: Path) -> None:
    files, path = [folder / name / "net_of_a_file.py" for name in ("one", "two")], list(sys.path)
    modules = [module_of_file(file) for file in files]
    assert [module.WHICH for module in modules] == ["one", "two"]
    assert modules[0].__name__ == "net_of_a_file"
    assert modules[1].__name__.startswith("net_of_a_file_")
    assert [module_of_file(file) for file in files] == modules
    assert sys.path == path


@pytest.mark.parametrize("stem", ["random", "my-net", "class"])
def test_names_that_are_taken_or_none(stem: str, folder: Path) -> None:
    file = folder / f"{stem}.py"
    file.write_text("A = 3\n", encoding="utf-8")
    assert module_of_file(file).A == 3


def test_a_file_that_fails_is_tried_again(folder: Path) -> None:
    file = folder / "torn_net_of_a_file.py"
    file.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        module_of_file(file)
    file.write_text("A = 3\n", encoding="utf-8")
    assert module_of_file(file).A == 3
    with pytest.raises(FileNotFoundError, match=rf"There is no file {folder}/absent.py.*current folder, {folder}"):
        module_of_file(folder / "absent.py")
