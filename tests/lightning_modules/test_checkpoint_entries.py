"""Checkpoints that lack an entry, or hold another type or NaN, are refused with the entry's name."""

from typing import Any

import pytest
import torch

from lightning_modules.checkpoint_entries import check_entries, check_tensors

NAN = float("nan")


def whole() -> dict[str, Any]:
    return {
        "loops": {"fit_loop": {"epoch_progress": {}, "epoch_loop.batch_progress": {}}},
        "callbacks": {},
        "lr_schedulers": [],
        "optimizer_states": [
            {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 1.0)}]}
        ],
        "fit": {"seed": None, "optimizer_options": []},
        "classes": ["ant"],
        "contributions": None,
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fit": None}, "a.ckpt holds something else than dict under 'fit'"),
        ({"fit": {"seed": "x"}}, "under 'seed'"),
        ({"classes": 3}, "under 'classes'"),
        ({"classes": [3]}, "under 'classes'"),
        ({"meaning_of_heads": []}, "under 'meaning_of_heads'"),
        ({"mean_contributions": "x"}, "something else than Tensor under 'mean_contributions'"),
        ({"contributions": [1.0]}, "something else than Tensor or NoneType under 'contributions'"),
        ({"loops": {}}, "no entry 'loops.fit_loop.epoch_progress'"),
        ({"loops": {"fit_loop": {"epoch_progress": {}}}}, "no entry 'loops.fit_loop.epoch_loop.batch_progress'"),
        ({"optimizer_states": [{"param_groups": [{"lr": NAN}]}]}, "NaN in optimizer_states.0.param_groups.0.lr"),
        (
            {"optimizer_states": [{"state": {7: {"sum": torch.tensor([0, NAN])}}}]},
            "NaN in optimizer_states.0.state.7.sum",
        ),
    ],
)
def test_an_entry_of_another_kind_is_named(change: dict[str, Any], told: str) -> None:
    check_entries(whole(), "a.ckpt", fitting=True)
    with pytest.raises(ValueError, match=r"a\.ckpt") as refused:
        check_entries({**whole(), **change}, "a.ckpt", fitting=True)
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["loops", "callbacks", "lr_schedulers", "optimizer_states"])
def test_what_a_fit_needs_has_to_be_there(name: str) -> None:
    checkpoint = {key: value for key, value in whole().items() if key != name}
    check_entries(checkpoint, "a.ckpt", fitting=False)
    with pytest.raises(ValueError, match=rf"a.ckpt has no entry '{name}'.*init_from"):
        check_entries(checkpoint, "a.ckpt", fitting=True)


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        ("x", "holds str as 'w', where float32 belongs"),
        (torch.zeros(2, dtype=torch.int32), "holds int32 as 'w', where float32 belongs"),
        (torch.zeros(2, dtype=torch.complex64), "holds complex64 as 'w'"),
        (torch.tensor([0.0, NAN]), "NaN or infinity in 'w'"),
        (torch.tensor([0.0, -float("inf")]), "NaN or infinity in 'w'"),
    ],
)
def test_a_tensor_of_another_kind_or_of_nan_is_named(saved: object, told: str) -> None:
    own = {"w": torch.zeros(2), "_extra_state": "digest"}
    check_tensors(own, {"w": torch.ones(2, dtype=torch.float16), "_extra_state": 3}, "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt") as refused:
        check_tensors(own, {"w": saved}, "a.ckpt")
    assert told in str(refused.value)


def test_infinity_stays_where_the_module_has_it() -> None:
    mask = torch.tensor([0.0, -float("inf")])
    check_tensors({"mask": mask}, {"mask": mask.clone()}, "a.ckpt")
