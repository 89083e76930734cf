"""One rank fails: both end, with its exit code, and its error stands once in what they show together."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import atexit, sys, time
import torch
from torch import distributed
from vitrine.core.distributed import leave_process_group
from vitrine.core.rank_failures import is_told_first, shared_failures

def work(rank, ways):
    distributed.all_reduce(torch.ones(1))
    way = ways[rank]
    if way == "user":
        raise ValueError(f"image {rank} is broken")
    if way == "bug":
        raise RuntimeError("a bug")
    if way == "sleep":
        time.sleep(600)
    if way == "end":
        return
    distributed.all_reduce(torch.ones(1))
    distributed.all_reduce(torch.ones(1))

def main():
    distributed.init_process_group("gloo")
    try:
        work(distributed.get_rank(), sys.argv[1:])
    except ValueError as error:
        if is_told_first(2):
            sys.stderr.write(f"error: {error}\\n")
        raise SystemExit(2)

atexit.register(leave_process_group)
with shared_failures():
    main()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def by_hand(script: Path, ways: list[str], port: int) -> tuple[list[int], str]:
    """Exit codes by rank, and what both wrote to standard error."""
    output = (script.parent / "errors").open("w+")
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), *ways],
            env=os.environ | group | {"RANK": str(rank), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=output,
        )
        for rank in range(2)
    ]
    codes = [process.wait(120) for process in processes]
    output.seek(0)
    return codes, output.read()


def by_torchrun(script: Path, ways: list[str], port: int) -> tuple[list[int], str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    done = subprocess.run(
        [*command, str(script), *ways], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return [done.returncode], done.stderr


@pytest.mark.parametrize(
    ("ways", "code", "told"),
    [
        (["wait", "user"], 2, "error: image 1 is broken"),
        (["user", "wait"], 2, "error: image 0 is broken"),
        (["sleep", "user"], 2, "error: image 1 is broken"),
        (["wait", "bug"], 1, "RuntimeError: a bug"),
        (["end", "user"], 2, "error: image 1 is broken"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_all_ranks_end_and_one_says_why(
    ways: list[str], code: int, told: str, script: Path, free_port: Callable[[], int]
) -> None:
    start = time.monotonic()
    codes, errors = by_hand(script, ways, free_port())
    assert codes == [code, code]
    assert errors.count(told) == 1
    assert errors.count("Traceback") == (code == 1)
    assert errors.count("RuntimeError: ") == (code == 1)  # none of what the other rank sees of it
    assert time.monotonic() - start < 60


def test_a_run_without_failure_says_nothing(script: Path, free_port: Callable[[], int]) -> None:
    assert by_hand(script, ["wait", "wait"], free_port()) == ([0, 0], "")


def test_under_torchrun_the_sentence_stands_once(script: Path, free_port: Callable[[], int]) -> None:
    codes, errors = by_torchrun(script, ["wait", "user"], free_port())
    assert codes != [0]
    assert errors.count("error: image 1 is broken") == 1
    assert "reset by peer" not in errors
