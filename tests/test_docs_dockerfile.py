"""The Dockerfile as far as it can be read: bases, files and targets that it names."""

import json
import re
import shlex
from pathlib import Path

from tests.helpers.doc_commands import made_by

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "Dockerfile").read_text(encoding="utf-8")
STEPS = re.findall(r"^([A-Z]+) (.+?)$", re.sub(r"^#.*\n|\\\n", "", TEXT, flags=re.MULTILINE), flags=re.MULTILINE)


def test_the_base_is_an_argument() -> None:
    assert STEPS[0][0] == "ARG"
    assert STEPS[0][1].startswith("BASE=")
    assert STEPS[1] == ("FROM", "${BASE}")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [word for step, rest in STEPS if step == "COPY" for word in shlex.split(rest)[1:-1]]
    assert "." in sources
    assert all((ROOT / source).exists() for source in sources)
    assert not {Path(source).parts[0] for source in sources if source != "."} & set(ignored)
    assert not [name for name in ignored if name in {"vitrine", "configs", "tests", "train.py"}]


def test_targets_are_those_of_the_makefile() -> None:
    (command,) = [json.loads(rest) for step, rest in STEPS if step == "CMD"]
    assert [made_by(target) for target in command[1:]]
    targets = re.findall(r"\bmake (\S+)", " ".join(rest for step, rest in STEPS if step == "RUN"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if target.startswith(".venv/")] == [".venv/.quickstart"]
    assert "\n.venv/.quickstart:" in makefile


def test_nothing_runs_as_root() -> None:
    steps = [step for step, _ in STEPS]
    assert steps.index("USER") < steps.index("CMD")
    assert ("USER", "vitrine") in STEPS
