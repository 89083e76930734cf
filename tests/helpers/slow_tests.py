"""Slow tests by measurement: which tests take half a second or more, and files of such tests alone."""

from collections import defaultdict
from pathlib import Path

import pytest

LIST = Path(__file__).parents[1] / "slow_tests.txt"
LIMIT = 0.5
"""Seconds of a test's setup, call and teardown together."""


def slow_tests() -> frozenset[str]:
    """Node ids of slow tests, and paths of files that have no other tests, as they were last measured."""
    lines = LIST.read_text(encoding="utf-8").splitlines() if LIST.is_file() else []
    return frozenset(line for line in lines if line and not line.startswith("#"))


class SlowTestRecorder:
    """A plugin that measures every test of a run and rewrites the list at its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds up the phases of each test; on the controller, those of all workers."""
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Writes the list."""
        by_file: dict[str, list[str]] = defaultdict(list)
        for node in sorted(self.seconds):
            by_file[node.partition("::")[0]].append(node)
        lines = ["# Tests of half a second or more: make slow-tests measures them anew."]
        for file, nodes in by_file.items():
            slow = [node for node in nodes if self.seconds[node] >= LIMIT]
            lines += [file] if slow == nodes else slow
        LIST.write_text("\n".join(lines) + "\n", encoding="utf-8")
