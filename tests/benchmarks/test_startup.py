"""The benchmark of start-up times: what it starts, and that a failed start is not timed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import startup


def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "startup.json"
    quick = {name: ["-c", ""] for name in startup.COMMANDS} | {startup.VITRINE: startup.COMMANDS[startup.VITRINE]}
    monkeypatch.setattr(startup, "COMMANDS", quick)
    monkeypatch.setattr(sys, "argv", ["startup", "--rounds", "1", f"--out={out}"])
    startup.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["seconds"]) == set(startup.COMMANDS)
    assert found["over import pytorch_lightning"][startup.LIGHTNING] == pytest.approx(1)
    assert set(startup.smoke()) == {
        "startup: import pytorch_lightning / train.py --help",
        "startup: import pytorch_lightning / import vitrine",
    }


def test_a_start_that_fails_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        startup.start(["-c", "raise SystemExit(3)"])
