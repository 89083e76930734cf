"""Metrics over ranks: computed also where one rank took in nothing, and their states in checkpoints."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from vitrine.core.distributed import global_rank, sum_over_ranks


def was_updated(metric: Metric | MetricCollection) -> bool:
    """Whether a metric has taken in anything on any rank; an explainer that estimates no logits leaves faithfulness out."""
    members = list(metric.values()) if isinstance(metric, MetricCollection) else [metric]
    updates = sum(member.update_count for member in members)
    # Computing is a collective: a rank without a batch has to take part.
    return bool(sum_over_ranks(torch.tensor(float(updates), device=members[0].device)))


def computed(metric: Metric | MetricCollection) -> Any:
    """The value of a metric over all ranks, which all of them ask for together."""
    with warnings.catch_warnings():
        # Of a rank without a batch; whether any had one, `was_updated` says.
        warnings.filterwarnings("ignore", message=r"The ``compute`` method of metric")
        return metric.compute()


def summed_state(metric: Metric) -> dict[str, Tensor]:
    """The state of a metric of sums, over all ranks; a collective."""
    return {name: sum_over_ranks(getattr(metric, name).detach().clone()).cpu() for name in metric._defaults}  # noqa: SLF001


def take_over_state(metric: Metric, state: Mapping[str, Tensor]) -> None:
    """Gives rank zero the state of all ranks together, and the others none; a state of other sizes is left out."""
    metric.reset()
    if any(getattr(metric, name).shape != value.shape for name, value in state.items()):
        return  # of other heads, which loading their weights refuses in a moment
    if global_rank() == 0:
        for name, value in state.items():
            getattr(metric, name).copy_(value)
    metric._update_count = 1  # noqa: SLF001 - it has taken in something, on some rank
