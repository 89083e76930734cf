"""The benchmark of many settings runs from its command line, and fits nine settings beside one."""

import json
from pathlib import Path

import torch

from benchmarks import settings as benchmark
from benchmarks.settings import CASES, NINE, ONE, batches_of, module_of
from lightning_modules import SRAESettingsModule


def test_nine_settings_have_nine_times_the_heads_of_one() -> None:
    one, nine = (module_of(CASES[0], name, 0) for name in (ONE, NINE))
    assert isinstance(nine, SRAESettingsModule)
    assert len(nine.settings) == 9
    assert sum(p.numel() for p in nine.parameters()) == 9 * sum(p.numel() for p in one.parameters())


def test_batches_follow_the_seed() -> None:
    found, again, other = (batches_of(CASES[0], seed)[0]["features"] for seed in (0, 0, 1))
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


def test_a_small_run(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ["--cases=1", "--classes=2", "--hidden", "4", "--rounds=1", "--device=cpu", f"--out={out}"]
    found = benchmark.main(options)
    written = json.loads(out.read_text(encoding="utf-8"))[CASES[0].name]
    assert written["nine over one"] == found[CASES[0].name]["nine over one"]
    assert all(len(written["seconds"][name]) == 1 for name in (ONE, NINE))
