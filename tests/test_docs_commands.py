"""Every command of the pages: run on small data where it can be, else read in full by its own parser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.doc_blocks import ROOT, Block, all_blocks, commands_of, python_arguments
from tests.helpers.doc_commands import made_by, read

RUN = ("README.md", "docs/start.md", "docs/explain.md")
"""Pages whose commands are run in their order, in one folder; what others name takes data, clusters or hours."""
ELSEWHERE = {
    "source": "a shell's own",
    "cd": "a shell's own",
    "mkdir": "a shell's own",
    "docker": "no daemon in a test; tests/test_docs_dockerfile.py reads the file",
    "pip": "extras are looked up by tests/test_project.py; packages are installed by .ci/run",
}
"""Programs that are not the project's, and why they are not tried here."""
LANGUAGES = {"bash", "python", "yaml", "text"}


def test_every_block_says_what_it_is() -> None:
    """So that none goes untried."""
    assert [block.place for block in all_blocks() if block.language not in LANGUAGES] == []


def test_text_blocks_are_no_commands() -> None:
    starts = ("python ", "make ", "vitrine ", "pip ")
    assert [block.place for block in all_blocks("text") if block.text.startswith(starts)] == []


def read_commands(block: Block, folder: Path) -> None:
    """Has a block's commands read; a launcher's program is read without it."""
    for command in commands_of(block, folder):
        if command[0] == "make":
            [made_by(target) for target in command[1:]]
        elif command[0] == "vitrine" or python_arguments(command):
            read(command)
        else:
            assert command[0] in ELSEWHERE, f"{block.place}: {' '.join(command)} is tried nowhere"


READ = [block for block in all_blocks("bash") if block.page not in RUN]


@pytest.mark.parametrize("block", READ, ids=[block.place for block in READ])
def test_commands_are_read_by_their_parsers(block: Block, clone: Path) -> None:
    read_commands(block, clone)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a clone has that commands read."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "vitrine", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)
