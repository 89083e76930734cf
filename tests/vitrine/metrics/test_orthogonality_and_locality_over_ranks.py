"""Orthogonality and Locality in two processes, on the images of their own tests."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
IMAGES = 12


def told(name: str) -> ModuleType:
    """A test module of this folder."""
    spec = importlib.util.spec_from_file_location(f"{name}_of_ranks", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(rank: int) -> list[Any]:
    """Of each metric the classes', the whole's, and again the classes' figures; once one rank has no batch."""
    orthogonality, locality = told("test_orthogonality"), told("test_locality")
    found = []
    for module, kind in (
        (orthogonality, orthogonality.Orthogonality),
        (locality, locality.Locality),
        (locality, locality.ObjectLocality),
    ):
        for cut in (7, IMAGES):
            metric = kind().to("cpu")  # as a trainer does
            if cut < IMAGES or not rank:
                module.take(metric, *((cut, IMAGES) if rank else (0, cut)))
            found.append([module.by_class(metric), module.values(metric), module.by_class(metric)])
    return found


RANK = """
import importlib.util, json, sys, torch
from torch import distributed
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("over_ranks", sys.argv[1])
over_ranks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(over_ranks)
rank = int(sys.argv[3])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
sys.stdout.write(json.dumps(over_ranks.figures(rank)))
distributed.destroy_process_group()
"""


def test_two_processes_equal_one_also_where_one_has_no_batch(tmp_path: Path) -> None:
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RANK, __file__, str(tmp_path / "meeting")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, **pipes) for rank in range(2)]
    outputs = [rank.communicate(timeout=100) for rank in ranks]
    orthogonality, locality = told("test_orthogonality"), told("test_locality")
    whole = []
    for classes, expected in (
        (orthogonality.expected_by_class(), orthogonality.expected()),
        (locality.expected_by_class("parts"), locality.expected("parts")),
        (locality.expected_by_class("objects"), locality.expected("objects")),
    ):
        rows = {str(label): pytest.approx(row, nan_ok=True) for label, row in classes.items()}
        whole += [[rows, pytest.approx(expected), rows]] * 2
    for rank, (answer, complaint) in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, complaint.decode()[-2000:]
        assert json.loads(answer) == whole
