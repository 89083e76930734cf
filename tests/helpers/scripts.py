"""Scripts in processes of their own, for what a process of `RankPool` cannot show: launchers, command lines and exits."""

import os
import subprocess
import sys
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
