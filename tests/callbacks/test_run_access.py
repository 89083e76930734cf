"""What callbacks ask of the trainer: its datamodule, an explanation, names of classes, images without normalisation."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from callbacks.run_access import class_names, datamodule_of, explanation_of, plain_images
from tests.helpers.explaining_fakes import CLASSES, FakeData, FakeModule
from vitrine.core.batch import Batch


class Asking(pl.Callback):
    """A callback."""


@pytest.fixture
def trainer() -> Any:
    return SimpleNamespace(datamodule=FakeData())


def test_the_datamodule_or_a_sentence(trainer: Any) -> None:
    assert datamodule_of(trainer, Asking()) is trainer.datamodule
    for nothing in (SimpleNamespace(), SimpleNamespace(datamodule=None)):
        with pytest.raises(ValueError, match="Asking needs a datamodule; pass datamodule="):
            datamodule_of(nothing, Asking())  # type: ignore[arg-type]


def test_an_explanation_or_a_sentence() -> None:
    explanation = FakeModule().explainer.explain(torch.rand(2, 3, 4, 4))
    assert len(explanation_of(explanation, Asking(), "test_step")) == 2
    with pytest.raises(ValueError, match="Asking needs a test_step that returns an Explanation, got NoneType"):
        explanation_of(None, Asking(), "test_step")


def test_names_are_the_explainers_or_the_data_sets(trainer: Any) -> None:
    module = FakeModule()
    assert class_names(trainer, module, Asking()) == CLASSES
    module.explainer.classes = ["a", "b", "c"]
    assert class_names(trainer, module, Asking()) == ["a", "b", "c"]


def test_images_as_they_were_before_normalisation(trainer: Any) -> None:
    images = torch.linspace(-4, 4, 3 * 3 * 2 * 2).reshape(3, 3, 2, 2).requires_grad_()
    shown = plain_images(trainer, Batch(image=images), Asking(), [2, 0])
    torch.testing.assert_close(shown, (images[[2, 0]].detach() * 0.25 + 0.5).clamp(0, 1))
    assert not shown.requires_grad
