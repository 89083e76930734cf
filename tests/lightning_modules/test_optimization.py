"""Optimizers and schedules that are injected: what configure_optimizers returns, and numbers that make no sense."""

import math
from typing import Any

import pytest
import torch
from pytorch_lightning.cli import ReduceLROnPlateau
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from lightning_modules.optimization import CosineToZero, check_optimizer, configured
from vitrine.core.options import OptionError, Range


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2))]


def test_without_a_schedule_the_optimizer_alone() -> None:
    optimizer = configured(lambda weights: Adam(weights, lr=0.25), None, parameters(), epochs=3)
    assert isinstance(optimizer, Adam)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_groups_of_parameters_keep_their_learning_rates() -> None:
    groups: list[dict[str, Any]] = [{"params": parameters()}, {"params": parameters(), "lr": 0.5}]
    optimizer: Any = configured(lambda weights: SGD(weights, lr=0.1), None, groups, epochs=3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]


@pytest.mark.parametrize(("t_max", "epochs", "steps"), [(0, 4, 4), (2, 4, 2), (0, 0, 1)])
def test_the_cosine_falls_to_zero_over_the_fit_or_as_told(t_max: int, epochs: int, steps: int) -> None:
    made: Any = configured(
        lambda w: SGD(w, lr=2.0), lambda o: CosineToZero(o, T_max=t_max), parameters(), epochs=epochs
    )
    (optimizer,), (schedule,) = made
    for step in range(steps):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1 + math.cos(math.pi * step / steps))
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_another_schedule_is_handed_on() -> None:
    made: Any = configured(lambda w: SGD(w, lr=2.0), lambda o: StepLR(o, 1), parameters(), epochs=5)
    assert isinstance(made[1][0], StepLR)


def test_a_plateau_has_what_it_watches() -> None:
    made: Any = configured(
        lambda w: SGD(w, lr=2.0), lambda o: ReduceLROnPlateau(o, monitor="val/loss"), parameters(), epochs=5
    )
    assert made["lr_scheduler"]["monitor"] == "val/loss"
    assert made["lr_scheduler"]["scheduler"].optimizer is made["optimizer"]


def test_a_negative_number_of_epochs_is_refused() -> None:
    with pytest.raises(OptionError, match=r"lr_scheduler\.init_args\.T_max is -1"):
        CosineToZero(SGD(parameters(), lr=1.0), T_max=-1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lr": math.inf}, r"optimizer\.init_args\.lr is inf"),
        ({"lr": math.nan}, r"optimizer\.init_args\.lr is nan"),
        ({"lr": 1.0, "weight_decay": math.inf}, r"optimizer\.init_args\.weight_decay is inf"),
        ({"lr": 1.0, "momentum": math.inf}, r"optimizer\.init_args\.momentum is inf"),
        ({"lr": 1.0, "momentum": 1.0}, r"optimizer\.init_args\.momentum is 1\.0; give 0 or more and below 1"),
        ({"lr": -0.5}, r"optimizer\.init_args\.lr is -0\.5; give 0 or more"),  # torch's own refusals, with the key
        ({"lr": 1.0, "weight_decay": -0.5}, r"optimizer\.init_args\.weight_decay is -0\.5; give 0 or more"),
        ({"lr": 1.0, "momentum": -0.5}, r"optimizer\.init_args\.momentum is -0\.5; give 0 or more and below 1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        check_optimizer(lambda weights: SGD(weights, **options))
    check_optimizer(lambda weights: SGD(weights, lr=0.0))


def test_a_learning_rate_of_zero_may_be_refused() -> None:
    with pytest.raises(OptionError, match=r"optimizer\.init_args\.lr is 0\.0; give a number above 0"):
        check_optimizer(lambda weights: SGD(weights, lr=0.0), lr=Range(above=0))


def test_other_refusals_of_an_optimizer_keep_its_words() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.init_args: Nesterov momentum requires .*; give other numbers"):
        check_optimizer(lambda weights: SGD(weights, lr=0.1, nesterov=True))
    with pytest.raises(ValueError, match=r"optimizer\.init_args: Invalid beta parameter at index 0: 1\.5; give other"):
        check_optimizer(lambda weights: Adam(weights, betas=(1.5, 0.9)))
    with pytest.raises(OptionError, match="optimizer is null; give a class of optimizers"):
        check_optimizer(None)
