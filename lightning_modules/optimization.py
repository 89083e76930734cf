"""Optimizers and learning rate schedules of LightningModules, injected as LightningCLI does it."""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from typing_extensions import override

from vitrine.core.options import OptionError, Range

WHOLE_FIT = 0
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

ShareDone = Callable[[], float]
"""The share of a fit that is done, from 0 to 1."""


class CosineToZero(LRScheduler):
    """Cosine annealing of the learning rate to 0: lr = ½ lr₀ (1 + cos πs), where s is the share of the fit that is done.

    The rate is a function of s alone, so that a fit that is resumed with more epochs goes on where the longer fit would be.

    Args:
        optimizer: whose learning rates fall.
        T_max: epochs until they are 0; 0 stands for the whole fit, be it bounded by epochs, steps or time.

    Raises:
        OptionError: for a negative number of epochs.
    """

    def __init__(self, optimizer: Optimizer, T_max: int = WHOLE_FIT) -> None:  # noqa: N803 - torch's name
        if T_max < 0:
            raise OptionError("lr_scheduler.init_args.T_max", T_max, "a whole number of epochs, 0 for all of the fit")
        self.T_max = T_max
        self.share_done: ShareDone | None = None
        super().__init__(optimizer)

    @override
    def get_lr(self) -> list[Any]:
        if self.share_done is not None and self.last_epoch:
            share = self.share_done()
        else:
            share = self.last_epoch / self.T_max if self.T_max else 0.0
        return [rate * (1 + math.cos(math.pi * min(share, 1))) / 2 for rate in self.base_lrs]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over how far the schedule is; how long it is, and from what rate, says the fit that goes on."""
        self.last_epoch = state_dict["last_epoch"]
        self.apply()

    def apply(self) -> None:
        """Sets the rates that belong to the present share."""
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def configured(
    optimizer: OptimizerCallable,
    lr_scheduler: LRSchedulerCallable | None,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    *,
    epochs: int | None = None,
    steps: int | None = None,
    share_done: ShareDone | None = None,
) -> OptimizerLRScheduler:
    """What ``configure_optimizers`` returns: the optimizer over the parameters or groups, with its schedule.

    A schedule steps once an epoch. `CosineToZero` over the whole fit falls over its epochs, or, after each step of the
    optimizer, over its steps or as ``share_done`` says.

    Args:
        optimizer: makes the optimizer.
        lr_scheduler: makes the schedule; a constant learning rate without it.
        parameters: parameters, or groups of them.
        epochs: of the fit, where they bound it.
        steps: of the fit, where they bound it.
        share_done: says how much of the fit is done, where it is bounded by time.
    """
    made = optimizer(list(parameters))
    if lr_scheduler is None:
        return made
    schedule = lr_scheduler(made)
    if isinstance(schedule, CosineToZero) and schedule.T_max == WHOLE_FIT:
        if epochs is not None:
            schedule.T_max = max(epochs, 1)
        else:
            schedule.T_max, schedule.share_done = steps or WHOLE_FIT, None if steps else share_done
            return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
    if isinstance(schedule, ReduceLROnPlateau):
        return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "monitor": getattr(schedule, "monitor", "")}}
    return [made], [schedule]


@dataclass(frozen=True)
class ConstructorDefault:
    """Stands in a pickle for the default of a constructor's argument: those are lambdas, which do not pickle.

    Args:
        kind: the class.
        name: of the argument.
    """

    kind: type
    name: str

    @classmethod
    def of(cls, value: object, kind: type, name: str) -> "ConstructorDefault | None":
        """What stands for a value that is the default of a class or of one of its bases; None for any other."""
        for base in kind.__mro__:
            parameter = inspect.signature(base).parameters.get(name) if "__init__" in vars(base) else None
            if parameter is not None and parameter.default is value:
                return cls(base, name)
        return None

    def value(self) -> Any:
        """The default itself."""
        return inspect.signature(self.kind).parameters[self.name].default


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
