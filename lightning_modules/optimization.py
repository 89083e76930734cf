"""Optimizers and learning rate schedules of LightningModules, injected as LightningCLI does it."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from vitrine.core.options import OptionError

ALL_EPOCHS = 0
RENAMED_OPTIMIZATION = {
    "lr": "optimizer.init_args.lr",
    "momentum": "optimizer.init_args.momentum",
    "weight_decay": "optimizer.init_args.weight_decay",
    "lr_schedule": "lr_scheduler",
}
"""Earlier names of options, and where they stand now."""


class CosineToZero(CosineAnnealingLR):
    """Cosine annealing of the learning rate to 0.

    Args:
        optimizer: whose learning rates fall.
        T_max: epochs until they are 0; 0 stands for all epochs of the fit.
    """

    def __init__(self, optimizer: Optimizer, T_max: int = ALL_EPOCHS) -> None:  # noqa: N803 - torch's name
        if T_max < 0:
            raise OptionError("lr_scheduler.init_args.T_max", T_max, "a whole number of epochs, 0 for all of the fit")
        super().__init__(optimizer, T_max)


def configured(
    optimizer: OptimizerCallable,
    lr_scheduler: LRSchedulerCallable | None,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    epochs: int,
) -> OptimizerLRScheduler:
    """What ``configure_optimizers`` returns: the optimizer over the parameters or groups, with its schedule.

    Args:
        optimizer: makes the optimizer.
        lr_scheduler: makes the schedule, which steps once an epoch; a constant learning rate without it.
        parameters: parameters, or groups of them.
        epochs: of the fit, over which `CosineToZero` falls.
    """
    made = optimizer(list(parameters))
    if lr_scheduler is None:
        return made
    schedule = lr_scheduler(made)
    if isinstance(schedule, CosineToZero) and schedule.T_max == ALL_EPOCHS:
        schedule.T_max = max(epochs, 1)
    if isinstance(schedule, ReduceLROnPlateau):
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "monitor": getattr(schedule, "monitor", "")}}
    return [made], [schedule]


def check_optimizer(optimizer: OptimizerCallable | None) -> None:
    """Refuses numbers of an optimizer that make no sense, before there is anything to fit.

    Raises:
        OptionError: for no optimizer, and a learning rate, weight decay or momentum that is negative, infinite or NaN.
    """
    if optimizer is None:
        raise OptionError("optimizer", None, "a class of optimizers, such as torch.optim.Adam")
    (group,) = optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    for name in ("lr", "weight_decay", "momentum"):
        value = group.get(name, 0.0)
        if not 0 <= float(value) < math.inf:
            raise OptionError(f"optimizer.init_args.{name}", value, "0 or more")
