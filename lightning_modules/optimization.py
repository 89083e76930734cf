"""Optimizers and learning rate schedules of LightningModules, injected as LightningCLI does it."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from vitrine.core.options import OptionError, Range

ALL_EPOCHS = 0
RENAMED_OPTIMIZATION = {
    "lr": "optimizer.init_args.lr",
    "momentum": "optimizer.init_args.momentum",
    "weight_decay": "optimizer.init_args.weight_decay",
    "lr_schedule": "lr_scheduler",
}
"""Earlier names of options, and where they stand now."""
RANGES = {"lr": Range(at_least=0), "weight_decay": Range(at_least=0), "momentum": Range(at_least=0, below=1)}
"""Of the numbers that optimizers share."""
TORCH_REFUSES = re.compile(r"Invalid (learning rate|momentum|weight_decay)(?: value)?: ([-+.\w]+)")


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


def check_optimizer(optimizer: OptimizerCallable | None, lr: Range = RANGES["lr"]) -> None:
    """Refuses numbers of an optimizer that make no sense, before there is anything to fit.

    Args:
        optimizer: makes the optimizer.
        lr: what the learning rate may be.

    Raises:
        OptionError: for no optimizer, and a learning rate, weight decay or momentum out of range.
        ValueError: for other numbers that the optimizer itself refuses.
    """
    if optimizer is None:
        raise OptionError("optimizer", None, "a class of optimizers, such as torch.optim.Adam")
    ranges = {**RANGES, "lr": lr}
    try:
        (group,) = optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    except ValueError as error:
        refused = TORCH_REFUSES.fullmatch(str(error))
        if refused is None:
            raise ValueError(f"optimizer.init_args: {error}; give other numbers.") from error
        name = refused[1].replace("learning rate", "lr")
        raise OptionError(f"optimizer.init_args.{name}", float(refused[2]), repr(ranges[name])) from error
    for name, range_ in ranges.items():
        if name in group and float(group[name]) not in range_:
            raise OptionError(f"optimizer.init_args.{name}", group[name], repr(range_))
