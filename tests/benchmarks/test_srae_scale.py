"""The benchmark of many SRAE heads: the plain way is the same mathematics, and a small run from its command line."""

import json
import statistics
from pathlib import Path

import pytest
import torch

from benchmarks.srae_scale import __main__ as benchmark
from benchmarks.srae_scale.fitting import fit_ours, fit_plain, made_heads, made_module
from benchmarks.srae_scale.measures import Memory, Quality, Timing
from benchmarks.srae_scale.problem import BFLOAT16, FLOAT32, PLAIN, SHARED, WAYS, Batches, Settings, made_problem
from benchmarks.srae_scale.report import memory_goals, quality_goals, speed_goals, speedup

SMALL = Settings(
    features=24,
    hidden=(12, 8),
    trunk_hidden=(12, 10),
    num_features=3,
    rows=40,
    held_out=20,
    rank=4,
    batch_size=8,
    at_once=2,
)


def test_both_fit_the_same_heads_to_the_same_weights() -> None:
    torch.manual_seed(0)
    train = made_problem(SMALL, 3).train
    module = made_module(FLOAT32, 3, range(3), SMALL)
    heads = [module.heads.get_submodule(str(row)) for row in range(3)]
    plain = made_heads(3, SMALL)
    for head, own in zip(plain, heads, strict=True):
        head.load_state_dict({name: value for name, value in own.state_dict().items() if name != "alive"})
    fit_plain(plain, range(3), Batches(train, SMALL, epochs=3, warm=2), SMALL)
    begun = [head.get_parameter("encoder.0.weight").detach().clone() for head in heads]
    fit_ours(module, FLOAT32, Batches(train, SMALL, epochs=3, warm=2), SMALL)
    for head, own, before in zip(plain, heads, begun, strict=True):
        assert not torch.allclose(own.get_parameter("encoder.0.weight"), before, atol=1e-3)
        for name, value in head.named_parameters():
            torch.testing.assert_close(own.get_parameter(name), value, atol=2e-5, rtol=1e-4)


def test_the_problem_is_low_rank_and_grows_by_classes_without_changing_those_before() -> None:
    few, many = made_problem(SMALL, 2), made_problem(SMALL, 5)
    assert torch.equal(few.train.features, many.train.features)
    torch.testing.assert_close(few.held_out.logits, many.held_out.logits[:, :2])
    assert bool((few.train.features >= 0).all())
    assert [len(part.features) for part in few] == [40, 20]


def test_a_pass_in_so_many_warms_up() -> None:
    batches = Batches(made_problem(SMALL, 2).train, SMALL, epochs=2, warm=1, steps=4)
    assert [len(list(batches)) for _ in range(6)] == [1, 4, 4, 1, 4, 4]
    assert [batches.is_whole(number) for number in range(4)] == [False, True, True, False]
    order, _, again = (
        [batch["key"] for batch in one] for one in (Batches(batches.samples, SMALL, 2), batches, batches)
    )
    assert order == [batch["key"] for batch in Batches(batches.samples, SMALL, 2)] != again
    assert sorted(int(key) for keys in order for key in keys) == list(range(40))


@pytest.mark.parametrize("way", [FLOAT32, SHARED])
def test_whole_passes_are_timed(way: str) -> None:
    batches = Batches(made_problem(SMALL, 4).train, SMALL, epochs=1, warm=1)
    assert fit_ours(made_module(way, 4, range(4), SMALL), way, batches, SMALL) > 0
    assert batches.begun == (2 if way == SHARED else 4)


def test_speed_is_judged_by_the_median_of_rounds() -> None:
    seconds = {PLAIN: [4.0, 6.0, 9.0], FLOAT32: [2.0, 6.0, 2.0], BFLOAT16: [1.0] * 3, SHARED: [3.0] * 3}
    timings = [Timing(way, 8, 8 if way == SHARED else 2, found) for way, found in seconds.items()]
    assert speedup(timings, 8, FLOAT32, PLAIN) == 2
    assert speedup(timings, 8, SHARED, FLOAT32) == pytest.approx(8 / 3)
    assert [goal.met for goal in speed_goals(timings, 1, 1)] == [True, True, False, False]
    slow = [Timing(PLAIN, 8, 2, [90.0] * 3), *timings[1:]]
    assert [goal.met for goal in speed_goals(slow, 8, 2)] == [True, True, True, True]


def test_memory_is_flat_or_not() -> None:
    memories = [Memory(FLOAT32, 1, 10, 20), Memory(FLOAT32, 2, 20, 60), Memory(FLOAT32, 8, 80, 122)]
    assert [goal.met for goal in memory_goals(memories, 2)] == [True]
    assert [goal.met for goal in memory_goals([*memories, Memory(FLOAT32, 16, 160, 220)], 2)] == [False]
    assert memory_goals(memories[:2], 2) == []


def test_faithfulness_is_judged_by_the_spread() -> None:
    own = Quality(FLOAT32, 4, 2, 1, [0.5, 0.6], [0.90, 0.92])
    good, bad = Quality(BFLOAT16, 4, 2, 1, [0.6, 0.6], [0.91, 0.9]), Quality(SHARED, 4, 2, 1, [9.0, 9.0], [0.88, 0.88])
    assert [goal.met for goal in quality_goals([own, good, bad])] == [True, True, False]


def test_a_small_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    sizes = [
        "--features=24",
        "--hidden",
        "12",
        "8",
        "--trunk-hidden",
        "12",
        "10",
        "--num-features=3",
        "--rows=40",
        "--held-out=20",
        "--batch-size=8",
    ]
    few = ["--at-once=2", "--rounds=2", "--quality-heads=2", "--quality-epochs=2", "--trunk-epochs=3", "--seeds=2"]
    classes = ["--classes", "1", "3", "--quality-classes", "3", "5"]
    found = benchmark.main([*sizes, *few, *classes, "--skip", "memory", "--device", "cpu", "--out", str(out)])
    written = json.loads(out.read_text(encoding="utf-8"))
    assert [(one["classes"], one["way"]) for one in written["timings"]] == [(c, way) for c in (1, 3) for way in WAYS]
    for timing in written["timings"]:
        heads = min(timing["classes"], 3 if timing["way"] == SHARED else 2)
        assert timing["heads"] == heads
        assert timing["whole"] == pytest.approx([s * timing["classes"] / heads for s in timing["measured"]])
    assert [(one["classes"], one["way"]) for one in written["quality"]] == [
        (3, PLAIN), (3, FLOAT32), (3, BFLOAT16), (5, FLOAT32), (5, SHARED),
    ]  # fmt: skip
    assert all(0 <= share <= 1 for one in written["quality"] for share in one["f_cls"])
    assert len(written["goals"]) == len(found["goals"]) == 7


def test_memory_of_heads_in_a_process_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    sizes = [
        "--features=1500",
        "--hidden",
        "500",
        "8",
        "--trunk-hidden",
        "500",
        "8",
        "--num-features=3",
        "--rows=16",
        "--held-out=2",
        "--batch-size=8",
    ]
    benchmark.main(
        [*sizes, "--at-once=2", "--classes=4", "--skip", "time", "quality", "--device", "cpu", "--out", str(out)]
    )
    memory = {one["way"]: one for one in json.loads(out.read_text(encoding="utf-8"))["memory"]}
    head = 4 * (2 * (1500 * 500 + 500 * 8 + 8 * 3) + 1500 + 2 * 500 + 2 * 8 + 3 + 3)
    assert memory[PLAIN]["weights"] == memory[FLOAT32]["weights"] == 4 * head
    # A gradient and two moments, of a head or of a group; the rest is what libraries load when they are first used.
    for way, at_once in ((PLAIN, 1), (FLOAT32, 2)):
        assert memory[way]["rest"] > 3 * at_once * head
    assert statistics.fmean(one["peak"] for one in memory.values()) > head
