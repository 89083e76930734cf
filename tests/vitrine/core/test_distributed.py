"""A process is out of its group when Python ends."""

from pathlib import Path

import pytest
from torch import distributed

from tests.helpers.scripts import run_script
from vitrine.core.distributed import leave_process_group


def test_a_group_is_left(tmp_path: Path) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    assert distributed.is_initialized()
    leave_process_group()
    assert not distributed.is_initialized()


def test_without_a_group_there_is_nothing_to_leave() -> None:
    assert not distributed.is_initialized()
    leave_process_group()
    assert not distributed.is_initialized()


SCRIPT = """
import atexit, sys
from torch import distributed
from vitrine.core.distributed import leave_process_group
atexit.register(lambda: print("at the end:", distributed.is_initialized()))  # what is registered later runs before
atexit.register(leave_process_group)
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
print("in a group:", distributed.is_initialized())
"""


def test_a_script_leaves_its_group_at_the_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run_script(script, tmp_path / "meeting", cwd=tmp_path)
    assert done.stdout.splitlines() == ["in a group: True", "at the end: False"]


def test_a_script_that_breaks_down_fails_the_test(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit('leave_process_group was never reached')")
    with pytest.raises(AssertionError, match="was never reached"):
        run_script(script, cwd=tmp_path)


def test_a_script_that_may_end_within_a_group_is_not_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("")
    with pytest.raises(AssertionError, match="register leave_process_group with atexit"):
        run_script(script, cwd=tmp_path)
