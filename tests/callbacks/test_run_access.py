"""What callbacks ask of the trainer: its datamodule, an explanation, names of classes, images without normalisation."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from callbacks.run_access import Run
from tests.helpers.explaining_fakes import CLASSES, FakeData, FakeModule
from vitrine.core.batch import Batch


class Asking(pl.Callback):
    """A callback."""


def run_with(module: pl.LightningModule | None = None, **trainer: Any) -> Run:
    return Run(SimpleNamespace(**trainer), module or FakeModule(), Asking())  # type: ignore[arg-type]


@pytest.fixture
def run() -> Run:
    return run_with(datamodule=FakeData())


def test_the_datamodule_or_a_sentence(run: Run) -> None:
    assert run.datamodule is run.trainer.datamodule  # type: ignore[attr-defined]
    for nothing in (run_with(), run_with(datamodule=None)):
        with pytest.raises(ValueError, match="Asking needs a datamodule; pass datamodule="):
            _ = nothing.datamodule


def test_an_explanation_or_a_sentence() -> None:
    explanation = FakeModule().explainer.explain(torch.rand(2, 3, 4, 4))
    assert len(run_with(predicting=False).explanation(explanation)) == 2
    for predicting, step in ((False, "test_step"), (True, "predict_step")):
        with pytest.raises(ValueError, match=f"Asking needs a {step} that returns an Explanation, got NoneType"):
            run_with(predicting=predicting).explanation(None)


def test_names_are_the_explainers_or_the_data_sets(run: Run) -> None:
    assert run.class_names == CLASSES
    module = FakeModule()
    module.explainer.classes = ["a", "b", "c"]
    assert run_with(module, datamodule=FakeData()).class_names == ["a", "b", "c"]


def test_classes_are_chosen_by_name_in_the_order_given(run: Run) -> None:
    loon, tern, gull = CLASSES
    assert run.class_indices(None, CLASSES) == [0, 1, 2]
    assert run.class_indices(None, [gull, loon]) == [0, 2]
    assert run.class_indices([gull, loon], CLASSES) == [2, 0]
    with pytest.raises(ValueError, match=r"Asking: there is no head 'tren'; near names: tern"):
        run.class_indices(["tren"], [loon, tern], "head")


def test_images_as_they_were_before_normalisation(run: Run) -> None:
    images = torch.linspace(-4, 4, 3 * 3 * 2 * 2).reshape(3, 3, 2, 2).requires_grad_()
    shown = run.plain_images(Batch(image=images), [2, 0])
    torch.testing.assert_close(shown, (images[[2, 0]].detach() * 0.25 + 0.5).clamp(0, 1))
    assert not shown.requires_grad
