"""The ratios of inversion masks for the regression guard: small images, few steps, random weights."""

from collections.abc import Mapping

import torch

from benchmarks.common import NamedWeights
from benchmarks.inversion.timing import speed, timed
from benchmarks.inversion.ways import BFLOAT16, FLOAT32, LITERAL, Problem

NETWORKS = ("squeezenet1_0", "mobilenet_v2")


def smoke(size: int = 128, count: int = 4, steps: tuple[int, int] = (1, 2), rounds: int = 3) -> Mapping[str, float]:
    """The literal algorithms' time over ours, in float32 and in bf16, of both networks.

    Args:
        size: side of the images.
        count: of images.
        steps: of the two stages.
        rounds: that count.
    """
    ratios: dict[str, float] = {}
    for name in NETWORKS:
        problem = Problem(NamedWeights(name, None).build("cpu"), torch.randn(count, 3, size, size), steps, count)
        runs = {way: run for way, run in problem.runs().items() if way in {LITERAL, FLOAT32, BFLOAT16}}
        timings = timed(runs, count, rounds, "cpu", f"inversion masks of {name}")
        ratios |= {f"inversion, {name}: literal / {way}": speed(timings, way, LITERAL) for way in (FLOAT32, BFLOAT16)}
    return ratios
