"""Checkpoints of the earlier release, whose tensors and options had other names: a run goes on from them to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules import ExplainerModule
from tests.helpers import mu_lasso_fakes, srae_fakes

EARLIER = {"alive": "live", "is_alive": "taking_part", "median_maxima": "usual"}
"""Last names of tensors: today's, and those of the earlier release."""


class Kind(NamedTuple):
    """A kind of module, how it is fitted, and what its checkpoints have under other names."""

    make: Callable[[], ExplainerModule]
    fit: Callable[..., pl.Trainer]
    tensors: set[str]


def fit_heads(module: ExplainerModule, epochs: int, folder: Path, *callbacks: Any, **options: Any) -> pl.Trainer:
    batches = srae_fakes.make_batches()
    return srae_fakes.fit(module, batches, epochs, *callbacks, default_root_dir=folder, **options)


def fit_filters(module: Any, epochs: int, folder: Path, *callbacks: Any, ckpt: Path | None = None) -> pl.Trainer:
    keeps = {"callbacks": list(callbacks), "enable_checkpointing": bool(callbacks), "default_root_dir": folder}
    return mu_lasso_fakes.fit(module, mu_lasso_fakes.make_batches(size=100), ckpt_path=ckpt, max_epochs=epochs, **keeps)


KINDS = {
    "separate": Kind(srae_fakes.make_module, fit_heads, {"live"}),
    "shared": Kind(lambda: srae_fakes.make_module(trunk="shared", objective="cae"), fit_heads, {"taking_part"}),
    "groups": Kind(lambda: srae_fakes.make_module(classes_at_once=2), fit_heads, {"live"}),
    "steps": Kind(lambda: mu_lasso_fakes.make_module(solver="sgd"), fit_filters, {"usual"}),
}


def as_before(path: Path) -> Path:
    """The checkpoint as the earlier release would have written it."""
    checkpoint = torch.load(path, weights_only=False)
    state = {}
    for name, value in checkpoint["state_dict"].items():
        parent, dot, last = name.rpartition(".")
        state[f"{parent}{dot}{EARLIER.get(last, last)}"] = value
    checkpoint["state_dict"] = state
    if "model.init_args.training.classes_at_once" in checkpoint.get("plan", {}):
        plan = checkpoint["plan"]
        plan["model.init_args.classes_at_once"] = plan.pop("model.init_args.training.classes_at_once")
    if "kind" in checkpoint["meaning_of_heads"]:
        checkpoint["meaning_of_heads"]["selection"] = checkpoint["meaning_of_heads"].pop("kind")
    torch.save(checkpoint, path.with_name("before.ckpt"))
    return path.with_name("before.ckpt")


@pytest.mark.parametrize("name", KINDS)
def test_a_run_goes_on_from_an_earlier_checkpoint(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    whole, keep = kind.make(), srae_fakes.KeepAll(tmp_path)
    epochs = kind.fit(whole, 4, tmp_path, keep).current_epoch
    (path,) = [path for path in keep.kept[: len(keep.kept) // 2] if path.name.endswith("_epoch.ckpt")][-1:]
    before = as_before(path)
    assert kind.tensors <= {name.rpartition(".")[2] for name in torch.load(before, weights_only=False)["state_dict"]}
    resumed = kind.make()
    trainer = kind.fit(resumed, 4, tmp_path, ckpt=before)
    assert trainer.current_epoch == epochs
    # The selector's steps end where the gap is closed.
    assert epochs == 4 * (2 if name == "groups" else 1) or (name == "steps" and 2 <= epochs <= 4)
    state, moved = whole.explainer.head_state(), kind.make().explainer.head_state()
    for tensor, value in resumed.explainer.head_state().items():
        assert torch.equal(value, state[tensor]), tensor
    assert any(not torch.equal(value, moved[tensor]) for tensor, value in state.items())


def test_dropped_x_features_stay_dropped(tmp_path: Path) -> None:
    """Which a checkpoint whose names are not read would bring back to life."""
    for options in ({}, {"trunk": "shared"}):
        module, keep = srae_fakes.make_module(**options), srae_fakes.KeepAll(tmp_path)
        module.heads.drop(torch.tensor([[True, False, False], [False, False, False], [False, True, True]]))
        fit_heads(module, 1, tmp_path, keep)
        read = srae_fakes.make_module(**options)
        read.load_state_dict(torch.load(as_before(keep.kept[-1]), weights_only=False)["state_dict"])
        assert read.heads.alive.tolist() == module.heads.alive.tolist()
        assert read.heads.alive.sum() == 6


def test_a_selection_is_told_from_another(tmp_path: Path) -> None:
    module, keep = srae_fakes.make_selection(), srae_fakes.KeepAll(tmp_path)
    fit_heads(module, 1, tmp_path, keep)
    checkpoint = torch.load(as_before(keep.kept[-1]), weights_only=False)
    assert checkpoint["meaning_of_heads"]["selection"] == "lasso"
    same = srae_fakes.make_selection()
    same.on_load_checkpoint(checkpoint)
    same.load_state_dict(checkpoint["state_dict"])
    state = module.explainer.head_state()
    assert all(torch.equal(value, state[name]) for name, value in same.explainer.head_state().items())
    with pytest.raises(ValueError, match=r"kind: lasso, not random; set model\.init_args\.selection\.kind: lasso"):
        srae_fakes.make_selection(kind="random").on_load_checkpoint(checkpoint)
