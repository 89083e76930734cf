"""What is configured anew holds after a resume: learning rates, their schedules, weight decay; not another optimizer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from lightning_modules.optimizer_resume import check_same_numbers, check_shapes
from tests.helpers import srae_fakes
from tests.helpers.learning_rates import cosine, rates


def test_a_fit_that_goes_on_for_more_epochs_follows_the_schedule_of_the_longer_fit(tmp_path: Path) -> None:
    short, kept = rates(2, tmp_path)
    assert short == pytest.approx([cosine(0), cosine(0), cosine(1 / 2), cosine(1 / 2)])
    longer, _ = rates(4, tmp_path, ckpt=kept[-1])
    assert longer == pytest.approx([cosine(2 / 4), cosine(2 / 4), cosine(3 / 4), cosine(3 / 4)])


def test_a_new_learning_rate_holds_after_a_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, kept = rates(4, tmp_path)
    (path,) = [path for path in kept if path.name == "4_epoch.ckpt"]
    with caplog.at_level("INFO", "pytorch_lightning"):
        resumed, _ = rates(4, tmp_path, ckpt=path, lr=0.5)
    assert resumed == pytest.approx([cosine(s, 0.5) for s in (2 / 4, 2 / 4, 3 / 4, 3 / 4)])
    assert "lr 0.5, which was 0.01" in caplog.text


def test_a_new_learning_rate_scales_that_of_another_schedule(tmp_path: Path) -> None:
    options: dict[str, Any] = {"lr_scheduler": lambda optimizer: StepLR(optimizer, 1, 0.5)}
    _, kept = rates(4, tmp_path, lr=None, optimizer=lambda weights: Adam(weights, lr=0.25), **options)
    (path,) = [path for path in kept if path.name == "4_epoch.ckpt"]
    resumed, _ = rates(4, tmp_path, ckpt=path, lr=None, optimizer=lambda weights: Adam(weights, lr=1.0), **options)
    assert resumed == pytest.approx([0.25, 0.25, 0.125, 0.125])


def test_a_new_weight_decay_holds_and_what_was_not_changed_stays(tmp_path: Path) -> None:
    _, kept = rates(2, tmp_path)
    module = srae_fakes.make_module(encoder_decay=0.5)
    trainer = srae_fakes.fit(module, srae_fakes.make_batches(), 3, ckpt=kept[-1], default_root_dir=tmp_path)
    assert [group["weight_decay"] for group in trainer.optimizers[0].param_groups] == [1.0, 2e-5, 2e-5]


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    _, kept = rates(1, tmp_path)
    told = r"\.ckpt was trained with the optimizer torch\.optim\.adam\.Adam, not torch\.optim\.sgd\.SGD"
    with pytest.raises(ValueError, match=told):
        rates(2, tmp_path, ckpt=kept[-1], lr=None, optimizer=lambda weights: SGD(weights, lr=0.1))


def test_states_of_other_numbers_and_shapes_are_refused(tmp_path: Path) -> None:
    """Fused steps would read beyond them."""
    parameter = torch.nn.Parameter(torch.zeros(3, 2))
    optimizer = Adam([parameter])
    stub: Any = SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=[])
    check_same_numbers(stub, 1, 0, "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt holds the states of 0 optimizers, and the fit has 1"):
        check_same_numbers(stub, 0, 0, "a.ckpt")
    with pytest.warns(UserWarning, match=r"a\.ckpt holds 2 learning rate schedules, and the fit has 0"):
        check_same_numbers(stub, 1, 2, "a.ckpt")
    optimizer.state[parameter] = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3, 2), "momentum_buffer": None}
    check_shapes(stub, "a.ckpt")
    optimizer.state[parameter]["exp_avg"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"exp_avg of shape \(1,\) for a parameter of shape \(3, 2\)"):
        check_shapes(stub, "a.ckpt")
