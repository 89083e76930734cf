"""Contracts are looked up without evaluating anything, and what is missing is told in one sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from datamodules import FlowerDataModule
from lightning_modules import ClassifierModule, InversionModule, MuLassoModule, SRAEModule
from lightning_modules.base import ExplainerModule
from vitrine.data.contracts import ExplainingModule, explanation_data, fitted_module, satisfies, training_data


class Broken:
    """Properties that cannot be read yet."""

    @property
    def one_pass(self) -> bool:
        raise RuntimeError("too early")

    feature_extractor = explained_classes = one_pass


def test_a_trainer_without_a_datamodule_has_none() -> None:
    assert explanation_data(pl.Trainer(logger=False, enable_checkpointing=False)) is None
    assert training_data(SimpleNamespace(datamodule=None)) is None


def test_a_datamodule_satisfies_its_contracts_before_it_has_data(tmp_path: Path) -> None:
    data = FlowerDataModule(tmp_path)
    assert explanation_data(SimpleNamespace(datamodule=data)) is data
    assert training_data(SimpleNamespace(datamodule=data)) is data


def test_what_a_datamodule_lacks_is_told() -> None:
    simple: Any = SimpleNamespace(preprocessing=None, classes=[], multi_label=False, annotations=(), panel=None)
    trainer = SimpleNamespace(datamodule=simple)
    assert explanation_data(trainer) == simple
    with pytest.raises(ValueError, match=r"SimpleNamespace lacks augment, class_counts, .*train_count; inherit Shard"):
        training_data(trainer)
    del simple.classes
    with pytest.raises(ValueError, match=r"lacks classes; .* vitrine\.data\.contracts\.ExplanationData declares"):
        explanation_data(trainer)


def test_a_module_says_how_it_is_fitted_or_nothing_of_it() -> None:
    assert fitted_module(None) is None
    assert fitted_module(nn.Linear(1, 1)) is None
    assert isinstance(fitted_module(Broken()), Broken)
    with pytest.raises(ValueError, match="lacks explained_classes, one_pass; inherit ExplainerModule"):
        fitted_module(SimpleNamespace(feature_extractor=None))


@pytest.mark.parametrize("kind", [SRAEModule, MuLassoModule, InversionModule, ExplainerModule])
def test_modules_of_explainers_satisfy_their_contracts(kind: type[ExplainerModule]) -> None:
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    assert fitted_module(module) is module
    assert not satisfies(module, ExplainingModule)
    module.explainer = nn.Linear(1, 1)  # type: ignore[assignment]
    assert satisfies(module, ExplainingModule)


def test_a_classifier_is_fitted_on_shuffled_images() -> None:
    module = ClassifierModule.__new__(ClassifierModule)
    nn.Module.__init__(module)
    assert fitted_module(module) is None


class HasParts(Protocol):
    @property
    def part(self) -> nn.Module: ...

    @property
    def weight(self) -> Tensor: ...

    def act(self) -> None: ...


def test_submodules_parameters_and_methods_satisfy_a_protocol() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.weight = nn.Identity(), nn.Parameter(torch.zeros(1))

        def act(self) -> None: ...

    whole = Whole()
    assert satisfies(whole, HasParts)
    del whole.part
    assert not satisfies(whole, HasParts)
    assert not satisfies(None, HasParts)
