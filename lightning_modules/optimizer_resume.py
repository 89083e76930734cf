"""Optimizers after a resume: options changed since the checkpoint hold, and another optimizer is refused."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer

from lightning_modules.optimization import CosineToZero

Options = dict[str, Any]
"""Of one group of parameters, by name."""
OF_SCHEDULES = frozenset({"params", "lr", "initial_lr"})
"""Entries of a group that are no options of the optimizer, or that schedules change."""
OF_HARDWARE = frozenset({"fused", "foreach", "capturable", "differentiable"})
"""Options that change how steps are computed, and not what."""


def class_of(optimizer: Optimizer) -> str:
    """The optimizer's class, as a configuration names it."""
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


def options_of(optimizer: Optimizer) -> list[Options]:
    """The options of each group as they were configured, before any step; ``lr`` is the rate before any schedule."""
    return [
        {name: value for name, value in group.items() if name not in OF_SCHEDULES}
        | {"lr": group.get("initial_lr", group["lr"])}
        for group in optimizer.param_groups
    ]


def check_same_optimizer(saved: str | None, configured: str, checkpoint: str) -> None:
    """Refuses to go on with another optimizer than the one whose state a checkpoint holds.

    Raises:
        ValueError: where their classes differ.
    """
    if saved is not None and saved != configured:
        raise ValueError(
            f"{checkpoint} was trained with the optimizer {saved}, not {configured}; go on with"
            f" model.init_args.optimizer.class_path: {saved}, or begin anew from its heads with model.init_args.init_from."
        )


def check_same_numbers(trainer: Trainer, optimizers: int, schedules: int, checkpoint: str) -> None:
    """Refuses a checkpoint without the states of the optimizers, and tells of schedules that begin anew.

    Args:
        trainer: of the fit.
        optimizers: whose states the checkpoint holds.
        schedules: whose states it holds.
        checkpoint: its name, for messages.

    Raises:
        ValueError: where the fit has another number of optimizers.
    """
    if optimizers != len(trainer.optimizers):
        raise ValueError(
            f"{checkpoint} holds the states of {optimizers} optimizers, and the fit has {len(trainer.optimizers)}; give"
            " another --ckpt_path, or the model.init_args that it was trained with."
        )
    if schedules != len(trainer.lr_scheduler_configs):
        rank_zero_warn(
            f"{checkpoint} holds {schedules} learning rate schedules, and the fit has {len(trainer.lr_scheduler_configs)}:"
            " what is not there begins anew."
        )


OF_EACH_NUMBER = frozenset({
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "acc_delta", "sum",
})  # fmt: skip
"""States of torch's optimizers with an entry for each number of a parameter."""


def check_shapes(trainer: Trainer, checkpoint: str) -> None:
    """Refuses states of restored optimizers that are not of their parameters' shapes: fused steps do not look.

    Raises:
        ValueError: with the first.
    """
    for optimizer in trainer.optimizers:
        for parameter, state in optimizer.state.items():
            for name in OF_EACH_NUMBER & state.keys():
                shape = getattr(state[name], "shape", parameter.shape)  # some are None before the first step
                if shape != parameter.shape:
                    raise ValueError(
                        f"{checkpoint} holds {name} of shape {tuple(shape)} for a parameter of shape"
                        f" {tuple(parameter.shape)}; give another --ckpt_path, or the model.init_args that it was"
                        " trained with."
                    )


def take_over_changes(trainer: Trainer, saved: Sequence[Options], configured: Sequence[Options]) -> None:
    """Gives the restored optimizer the options that are configured otherwise than they were for the checkpoint.

    A restored optimizer has the options of the checkpoint, so that a new learning rate on the command line would be lost.
    The rates that a schedule has reached are scaled with a new rate.

    Args:
        trainer: with the restored optimizer and schedules.
        saved: options of each group in the fit that wrote the checkpoint.
        configured: those of this fit.
    """
    (optimizer,) = trainer.optimizers
    told: dict[str, tuple[Any, Any]] = {}
    for group, before, now in zip(optimizer.param_groups, saved, configured, strict=True):
        group.update({name: now[name] for name in OF_HARDWARE & now.keys()})
        for name in now.keys() - OF_HARDWARE:
            if name not in before or now[name] == before[name]:
                continue
            told[name] = before[name], now[name]
            if name != "lr":
                group[name] = now[name]
                continue
            group["lr"] = group["lr"] * now["lr"] / before["lr"] if before["lr"] else now["lr"]
            if "initial_lr" in group:
                group["initial_lr"] = now["lr"]
    for config in trainer.lr_scheduler_configs:
        schedule = config.scheduler
        if "initial_lr" in optimizer.param_groups[0] and hasattr(schedule, "base_lrs"):
            schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        if isinstance(schedule, CosineToZero):
            schedule.apply()
    for name, (old, new) in sorted(told.items()):
        rank_zero_info(f"The fit goes on with {name} {new}, which was {old}.")


def set_schedules(trainer: Trainer, epoch: int) -> None:
    """Puts cosines where a fit stands that is bounded otherwise than before the resume: by epochs or by steps.

    Args:
        trainer: with the restored schedules.
        epoch: that begins or goes on now, as schedules count it.
    """
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.scheduler, CosineToZero):
            config.scheduler.last_epoch = epoch if config.interval == "epoch" else trainer.global_step
            config.scheduler.apply()
