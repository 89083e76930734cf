"""Quantus' own metrics of four families, with Vitrine's methods as their ``explain_func``."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import vitrine
from vitrine.attribution import GradCAM, IntegratedGradients
from vitrine.quantus import explain_func

quantus = pytest.importorskip("quantus")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


IMAGES = np.random.default_rng(0).random((3, 3, 16, 16), dtype=np.float32)
CLASSES = np.array([0, 3, 2])


def called(metric: Any, model: nn.Module, **more: Any) -> NDArray[Any]:
    settings = {"explain_func": explain_func, "explain_func_kwargs": {"method": "GradCAM", **more.pop("kwargs", {})}}
    scores = metric(model=model, x_batch=IMAGES, y_batch=CLASSES, device="cpu", **settings, **more)
    return np.asarray(scores if not isinstance(scores, dict) else list(scores.values()), dtype=float)


SILENT = {"disable_warnings": True, "display_progressbar": False}


def test_complexity_is_the_gini_index_of_the_maps(model: nn.Module) -> None:
    scores = called(quantus.Sparseness(**SILENT, abs=True, normalise=False), model, kwargs={"method": "IG", "steps": 8})
    maps = IntegratedGradients(model, steps=8).attribute(torch.from_numpy(IMAGES), CLASSES)
    sizes = np.sort(maps.abs().flatten(1).numpy() + 1e-7, axis=1)  # as Quantus does
    count = sizes.shape[1]
    gini = ((2 * np.arange(1, count + 1) - count - 1) * sizes).sum(axis=1) / (count * sizes.sum(axis=1))
    np.testing.assert_allclose(scores, gini, atol=1e-4)


def test_faithfulness(model: nn.Module) -> None:
    metric = quantus.PixelFlipping(**SILENT, features_in_step=32, perturb_baseline="black", return_auc_per_sample=True)
    assert np.isfinite(called(metric, model)).all()


def test_robustness(model: nn.Module) -> None:
    metric = quantus.MaxSensitivity(**SILENT, nr_samples=2, lower_bound=0.05, return_aggregate=False)
    scores = called(metric, model, kwargs={"method": "Saliency"})
    assert scores.shape == (3,)
    assert (scores >= 0).all()


def test_localisation(model: nn.Module) -> None:
    masks = np.zeros((3, 1, 16, 16), dtype=int)
    masks[..., :8] = 1
    scores = called(quantus.PointingGame(**SILENT), model, s_batch=masks)
    maps = GradCAM(model).attribute(torch.from_numpy(IMAGES), CLASSES).flatten(1)
    assert scores.astype(bool).tolist() == [bool(place % 16 < 8) for place in maps.argmax(dim=1).tolist()]


def test_randomisation_gets_maps_of_the_randomised_weights(model: nn.Module) -> None:
    metric = quantus.MPRT(**SILENT, layer_order="bottom_up", return_average_correlation=True)
    scores = called(metric, model, kwargs={"method": "Saliency"})
    assert scores.size
    assert (np.abs(scores) < 0.999).all()


def test_an_explainer_and_a_method_that_are_made_already(model: nn.Module) -> None:
    method = GradCAM(model)
    explainer = vitrine.explainer(model, "GradCAM", size=16, device="cpu")
    expected = explain_func(model, IMAGES, CLASSES)
    assert expected.shape == (3, 1, 16, 16)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(explain_func(model, torch.from_numpy(IMAGES), CLASSES, method=method), expected)
    assert explain_func(model, IMAGES, CLASSES, method=explainer).shape == expected.shape
    with pytest.raises(ValueError, match="layer would not count"):
        explain_func(model, IMAGES, CLASSES, method=method, layer="0")
    with pytest.raises(ValueError, match="colour"):
        explain_func(model, IMAGES, CLASSES, colour="red")
    with pytest.raises(ValueError, match="near names: GradCAM"):
        explain_func(model, IMAGES, CLASSES, method="GardCAM")
