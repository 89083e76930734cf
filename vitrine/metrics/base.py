"""What the metrics of explanations share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from vitrine.batch import Batch
from vitrine.explanation import Explanation


class ExplanationMetric(Metric, ABC):
    """A torchmetrics metric that reads explanations and the annotation of their images.

    ``compute`` gives a dict of named scalars, so that the count of what could not be measured stands beside the figure.
    """

    full_state_update = False

    @abstractmethod
    def update(self, explanation: Explanation, batch: Batch) -> None:
        """Takes in one batch."""

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Named figures over everything that was taken in, on all ranks."""

    def add_sum(self, name: str) -> None:
        """Adds a scalar state that starts at 0 and is summed over ranks."""
        self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
