import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RANK = """
import importlib.util, json, sys, torch
from torch import distributed
torch.set_num_threads(1)
path, function, meeting, rank = sys.argv[1:]
spec = importlib.util.spec_from_file_location("told", path)
told = importlib.util.module_from_spec(spec)
spec.loader.exec_module(told)
distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
sys.stdout.write(json.dumps(getattr(told, function)(int(rank))))
distributed.destroy_process_group()
"""


@pytest.fixture
def over_two_ranks(tmp_path: Path) -> Callable[[Callable[[int], Any]], list[Any]]:
    """What a test module's function of the rank gives in each of two processes, as JSON has it."""

    def given(function: Callable[[int], Any]) -> list[Any]:
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", RANK, inspect.getfile(function), function.__name__, str(tmp_path / "meeting")]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, **pipes) for rank in range(2)]
        outputs = [rank.communicate(timeout=300) for rank in ranks]
        for rank, (_, complaint) in zip(ranks, outputs, strict=True):
            assert rank.returncode == 0, complaint.decode()[-3000:]
        return [json.loads(told) for told, _ in outputs]

    return given
