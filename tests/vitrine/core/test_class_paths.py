"""Classes named in files: what is allowed, by the name alone, and what is imported."""

import sys
from pathlib import Path

import pytest
from torch import nn

from vitrine.core.class_paths import allowed_entries, class_named, is_allowed


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        ("studio.", {"studio:Net", "studio.nets:Net", "studio.nets.deep:Net"}),
        ("studio", {"studio:Net"}),
        ("studio.nets", {"studio.nets:Net"}),
        ("studio.nets:", {"studio.nets:Net"}),
        ("studio.nets:Net", {"studio.nets:Net"}),
        ("studio.nets:Ne", set()),
        ("s", set()),
        ("o", set()),
        ("os.", {"os:system", "os.path:join"}),
        ("studios.", {"studios:Net"}),
    ],
)
def test_what_an_entry_allows(allow: str, allowed: set[str]) -> None:
    paths = ["studio:Net", "studio.nets:Net", "studio.nets.deep:Net", "studios:Net", "os:system", "os.path:join"]
    assert {path for path in paths if is_allowed(path, allowed_entries(allow))} == allowed
    assert not any(is_allowed(path, allowed_entries(())) for path in paths)


@pytest.mark.parametrize(
    "entry", ["", ".", ":", "*", "studio.*", "..studio", "studio..", "studio/nets", "a b", 3, None]
)
def test_entries_that_would_allow_everything_or_nothing(entry: object) -> None:
    with pytest.raises(ValueError, match="allow holds"):
        allowed_entries([entry])  # type: ignore[list-item]


MODULE = """
from collections import OrderedDict
from torch import nn
from torch.nn import Linear

class Net(nn.Module):
    class Inner(nn.Module):
        pass

def make():
    raise AssertionError("was called")

open("imported", "w").close()
"""


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module that no other folder has."""
    (tmp_path / "studio_of_a_test.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "torn_studio.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "studio_of_a_test", raising=False)
    return tmp_path


def test_a_class_in_the_current_folder(studio: Path) -> None:
    before = list(sys.path)
    net = class_named("studio_of_a_test:Net", nn.Module, "Backbone", ["studio_of_a_test"])
    assert issubclass(net, nn.Module)
    assert class_named("studio_of_a_test:Net.Inner", nn.Module, "Backbone").__qualname__ == "Net.Inner"
    assert sys.path == before
    assert (studio / "imported").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("studio_of_a_test:make", "is a function, no class of torch's Module"),
        ("studio_of_a_test:OrderedDict", "is a class that does not inherit torch's Module"),
        ("studio_of_a_test:nn.Linear", "has no class nn.Linear"),
        ("studio_of_a_test:nn", "is a module, no class"),
        ("studio_of_a_test:Absent", "cannot be imported: studio_of_a_test has no class Absent"),
        ("studio_of_a_test:Ned", "has no class Ned; did you mean Net"),
        ("torn_studio.py:Net", "'torn_studio.py:Net' cannot be imported: ZeroDivisionError"),
        ("studio_of_a_test.py", "is no name of a class"),
        ("absent_studio:Net", "cannot be imported: ModuleNotFoundError"),
        ("torn_studio:Net", "cannot be imported: ZeroDivisionError"),
        ("os:system", "is a builtin_function_or_method, no class|is a function, no class"),
        ("subprocess:Popen", "does not inherit"),
        ("", "is no name of a class"),
        ("os", "is no name of a class"),
        (":Net", "is no name of a class"),
        ("..os:system", "is no name of a class"),
        ("os:system:x", "is no name of a class"),
        ("os:system()", "is no name of a class"),
    ],
)
@pytest.mark.usefixtures("studio")
def test_what_is_no_class(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_named(path, nn.Module, "Backbone")


def test_nothing_is_imported_that_is_not_allowed(studio: Path) -> None:
    for allow in ([], ["studio_of_a_tes"], ["studio_of_a_test.nets"], ["studio_of_a_test:Other"]):
        with pytest.raises(ValueError, match=r"'studio_of_a_test:Net' is not imported.*allow=\('studio_of_a_test',\)"):
            class_named("studio_of_a_test:Net", nn.Module, "Backbone", allow)
    assert not (studio / "imported").exists()
    with pytest.raises(ValueError, match=r"'studio_of_a_test:Linear' is a class of torch\.nn.*allow=\('torch\.nn"):
        class_named("studio_of_a_test:Linear", nn.Module, "Backbone", ["studio_of_a_test"])


# Files


@pytest.mark.parametrize("name", ["studio_of_a_test.py:Net", "{}/studio_of_a_test.py:Net", "./studio_of_a_test.py:Net"])
def test_a_class_in_a_file(name: str, studio: Path) -> None:
    net = class_named(name.format(studio), nn.Module, "Backbone")
    assert net is class_named("studio_of_a_test.py:Net", nn.Module, "Backbone")
    assert class_named("studio_of_a_test.py:Net.Inner", nn.Module, "Backbone").__qualname__ == "Net.Inner"


@pytest.mark.usefixtures("studio")
def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"Backbone 'nets/model.py:Net': There is no file {tmp_path}/nets/model.py"
    ):
        class_named("nets/model.py:Net", nn.Module, "Backbone")


def test_a_class_in_a_file_that_is_not_allowed(studio: Path) -> None:
    name = "studio_of_a_test.py:Net"
    for allow in ([], ["studio_of_a_test"], ["studio_of_a_test."], ["nets/studio_of_a_test.py"], [f"{name}s"]):
        with pytest.raises(ValueError, match=rf"is not imported.*allow=\('{studio}/studio_of_a_test.py',\)"):
            class_named(name, nn.Module, "Backbone", allowed_entries(allow))
    assert not (studio / "imported").exists()
    with pytest.raises(ValueError, match=r"is a class of torch\.nn"):
        class_named("studio_of_a_test.py:Linear", nn.Module, "Backbone", ["studio_of_a_test.py"])
    for entry in ("studio_of_a_test.py", name, f"{studio}/studio_of_a_test.py"):
        assert class_named(name, nn.Module, "Backbone", allowed_entries(entry)).__name__ == "Net"
