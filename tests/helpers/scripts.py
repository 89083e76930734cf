"""Scripts in processes of their own, and ``train.py`` in the processes of a `RankPool`.

A process of its own is for what a process of the pool cannot show: launchers, command lines and exits.
"""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_script(script: str | Path, *args: object, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs a script that trains, in as many processes as it starts, and checks that it came to its end well.

    ``timeout`` in seconds; errors of the script show the end of its standard error.
    """
    source = Path(script).read_text(encoding="utf-8")
    assert "leave_process_group" in source, f"{script}: register leave_process_group with atexit, as train.py does"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, args)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def train_on_rank(rank: int, arguments: Sequence[str]) -> str:
    """A command of ``train.py`` on one rank of several; what it wrote to standard error, with every warning."""
    import train

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()) as errors:
        warnings.simplefilter("always")
        train.main(list(arguments))
    return errors.getvalue()
