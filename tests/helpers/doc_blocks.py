"""The fenced blocks of the pages, and the commands that their shell blocks run."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "site" not in path.relative_to(ROOT / "docs").parts),
]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
RECORDING = """
set -u
PATH=/nowhere
record() { printf '%s\\037' "$@"; printf '\\036'; }
command_not_found_handle() { record "$@"; }
cd() { record cd "$@"; }
source() { record source "$@"; }
"""
"""A shell that finds no program records what would be run: bash expands variables and loops as for a reader."""


class Block(NamedTuple):
    """A fenced block."""

    page: str
    """Its path from the repository's folder."""
    line: int
    """Where its fence stands, from 1."""
    language: str
    text: str

    @property
    def place(self) -> str:
        """What a message calls it."""
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found = []
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        lines = [line[indent:] for line in match["text"].splitlines(keepends=True)]
        found.append(Block(name, text.count("\n", 0, match.start()) + 1, match["language"], "".join(lines)))
    return found


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages; those of some languages where any is given."""
    every = [block for page in PAGES for block in blocks_of(page)]
    return [block for block in every if not languages or block.language in languages]


def commands_of(block: Block, folder: Path) -> list[list[str]]:
    """The commands that a shell block would run, each as its arguments, with variables and loops expanded.

    Args:
        block: of bash.
        folder: where it would run; patterns of file names are expanded there.
    """
    done = subprocess.run(
        ["/bin/bash", "-c", RECORDING + block.text], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.stderr, f"{block.place}: {done.stderr}"
    records = [record for record in done.stdout.split("\036") if record]
    return [record.removesuffix("\037").split("\037") for record in records]


def python_arguments(command: Sequence[str]) -> list[str]:
    """What follows ``python`` in a command, also of one that a launcher starts; nothing where there is none."""
    words = list(command)
    if "python" in words:
        return words[words.index("python") + 1 :]
    return words[words.index("train.py") :] if "train.py" in words else []
