"""The benchmark of killed and resumed fits: its counts, and one chain."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.elastic.chains import keys_of_lineage, records, repeats_and_gaps
from benchmarks.elastic.process import Kill, Plan, end


def batch(step: int, keys: str, epoch: int = 0) -> dict[str, Any]:
    return {"step": step, "keys": list(keys), "epoch": epoch}


def test_batches_that_are_trained_anew_replace_those_of_the_killed_process() -> None:
    killed = [batch(1, "ab"), batch(2, "cd"), batch(3, "ef")]
    resumed = [batch(2, "cd"), batch(3, "ef"), batch(4, "ab", epoch=1)]
    found = keys_of_lineage([killed, [], resumed])
    assert found == {0: Counter("abcdef"), 1: Counter("ab")}


def test_ranks_of_one_step_are_taken_together() -> None:
    assert keys_of_lineage([[batch(1, "a"), batch(2, "b"), batch(1, "c"), batch(2, "d")]]) == {0: Counter("abcd")}


def test_repeats_and_gaps_are_counted_by_epoch() -> None:
    expected = {0: Counter("abc"), 1: Counter("abc")}
    assert repeats_and_gaps(expected, expected) == (0, 0)
    assert repeats_and_gaps({0: Counter("aab"), 1: Counter("abc")}, expected) == (1, 1)
    assert repeats_and_gaps({0: Counter("abc")}, expected) == (0, 3)


def test_records_are_read_by_attempt_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "000-0.jsonl").write_text(json.dumps(batch(1, "a")) + "\n" + '{"step": 2, "ke')
    (tmp_path / "000-1.jsonl").write_text(json.dumps(batch(1, "b")) + "\n")
    (tmp_path / "001-0.jsonl").write_text(json.dumps(batch(2, "c")) + "\n")
    assert [[one["keys"] for one in attempt] for attempt in records(tmp_path)] == [[["a"], ["b"]], [["c"]]]


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), 2, Kill(7, "SIGTERM", 0.25, rank=1))
    assert Plan.read(plan.write(tmp_path / "plan.json")) == plan


def test_an_exception_ends_at_once() -> None:
    with pytest.raises(RuntimeError, match="planned at step 3"):
        end(Kill(3, "exception"))
