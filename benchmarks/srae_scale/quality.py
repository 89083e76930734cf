"""Faithfulness on held-out rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.srae_scale.ours import fit_ours, made_module
from benchmarks.srae_scale.plain import fit_plain, made_heads
from benchmarks.srae_scale.problem import Batches, Problem, made_problem
from benchmarks.srae_scale.settings import PLAIN, SHARED, Settings
from vitrine.metrics.functional import absolute_difference, decision_kept


@dataclass
class Quality:
    """F_reg and F_cls of the first heads of C classes; lists have a number a seed."""

    way: str
    classes: int
    heads: int
    epochs: int
    f_reg: list[float] = field(default_factory=list)
    f_cls: list[float] = field(default_factory=list)


def quality_of(way: str, classes: int, heads: int, settings: Settings, *, epochs: int, seeds: Sequence[int]) -> Quality:
    """Of heads that are fitted for some epochs; of a shared trunk, all classes are, and the first ones measured."""
    found = Quality(way, classes, heads, epochs)
    problem = made_problem(settings, classes)
    for seed in seeds:
        torch.manual_seed(seed)
        estimates = _estimates(way, classes, heads, problem, Batches(problem.train, settings, epochs), settings)
        arguments = (estimates, problem.held_out.logits, torch.arange(heads, device=settings.device))
        found.f_reg.append(float(absolute_difference(*arguments).mean()))
        found.f_cls.append(float(decision_kept(*arguments).float().mean()))
    return found


def _estimates(way: str, classes: int, heads: int, problem: Problem, batches: Batches, settings: Settings) -> Tensor:
    """(held-out, heads)."""
    features = problem.held_out.features
    if way == PLAIN:
        plain = made_heads(heads, settings)
        fit_plain(plain, range(heads), batches, settings)
        with torch.no_grad():
            return torch.stack([head(features)[2] for head in plain], dim=1)
    module = made_module(way, classes, range(classes if way == SHARED else heads), settings)
    fit_ours(module, way, batches, settings)
    with torch.no_grad():
        return module.heads.to(settings.device).estimates(features)[:, :heads]
