"""What the benchmark of the first epoch times: both of its sides see every image, in the same precision."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from benchmarks import extraction, first_epoch
from benchmarks.common import NamedWeights
from vitrine.data.feature_store.pass_options import PassOptions

SMALL = ["--samples", "6", "--size", "64", "--classes", "2", "--batch-size", "4", "--rounds", "1"]


def test_both_sides_see_every_image_in_the_same_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = extraction.parser().parse_args([*SMALL, "--precision", "bfloat16", "--channels-last", "--device", "cpu"])
    shards = extraction.write_noise(tmp_path / "noise", args.samples, 64, args.classes)
    passes = first_epoch.Passes(NamedWeights("squeezenet1_1", None), args, shards, tmp_path)
    seen: list[tuple[int, Any]] = []
    run = PassOptions.run

    def seeing(self: PassOptions, call: Any, images: Tensor) -> Any:
        seen.append((len(images), self))
        return run(self, call, images)

    monkeypatch.setattr(PassOptions, "run", seeing)
    passes.bare()
    bare, seen[:] = list(seen), []
    passes.fits("SRAE")()
    assert bare == [(4, passes.compute), (2, passes.compute)]
    assert seen == [(1, passes.compute), *bare]  # the first shows the sizes
