"""The fit of a μ-Lasso explainer: its optimum on scaled responses, from sums or rows, along the path."""

from typing import Any, NamedTuple

import cvxpy
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.helpers.mu_lasso_networks import CLASSES, FILTERS, make
from vitrine.explainers import MuLassoFit
from vitrine.explainers.mu_lasso.fit import ScalingFit, label_matrix
from vitrine.filters.scaling import SCALINGS

Array = NDArray[np.float64]


class Samples(NamedTuple):
    """Responses as those of the network: a sum of 1 a layer, a dead filter, and one that never changes."""

    x: Tensor
    labels: Tensor


@pytest.fixture
def samples() -> Samples:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(CLASSES, (60,), generator=generator)
    raw = torch.rand(60, FILTERS, generator=generator) + torch.rand(CLASSES, FILTERS, generator=generator)[labels]
    raw[:, 1] = 0
    first, second = raw[:, :6], raw[:, 6:]
    x = torch.cat([first / first.sum(dim=1, keepdim=True), second / second.sum(dim=1, keepdim=True)], dim=1)
    x[:, 8] = 0.125
    return Samples(x, labels)


def scaled(x: Array, scaling: str) -> Array:
    """Transcribed from what each scaling says."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scaling == "width":
            return x * np.array([6.0] * 6 + [8.0] * 8)
        if scaling == "unit":
            return np.asarray(np.nan_to_num(x / np.linalg.norm(x, axis=0)))
        if scaling == "standardized":
            return np.asarray(np.where(np.ptp(x, axis=0) > 0, (x - x.mean(axis=0)) / x.std(axis=0), 0))
    return x


def lasso(x: Array, labels: Array, mu: float) -> Array:
    """One class after the other by a general solver."""
    columns = []
    for label in labels.T:
        w = cvxpy.Variable(x.shape[1])
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(x @ w - label)), [cvxpy.norm1(w) <= mu])
        problem.solve(cvxpy.CLARABEL, tol_gap_rel=1e-12, tol_gap_abs=1e-12, tol_feas=1e-12)
        columns.append(w.value)
    return np.stack(columns, axis=1)


MUS = {"paper": 3.0, "width": 0.6, "unit": 1.5, "standardized": 0.2}


def fitted(network: nn.Module, samples: Samples, count: int, scaling: str, labels: Tensor | None = None) -> Any:
    explainer = make(network, scaling=scaling, mu=MUS[scaling])
    fit = MuLassoFit(explainer, count)
    targets = samples.labels if labels is None else labels
    for x, label in zip(samples.x.split(7), targets.split(7), strict=True):
        fit.update(x, label)
    return explainer, fit.finish(tol=1e-9), fit


@pytest.mark.parametrize("count", [10**6, 0], ids=["sums", "rows"])
@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_fit_is_the_optimum_on_scaled_responses(
    network: nn.Module, samples: Samples, scaling: str, count: int, *, multi_hot: bool
) -> None:
    hot = torch.nn.functional.one_hot(samples.labels, CLASSES)
    if multi_hot:
        hot[::5] = torch.tensor([1, 1, 0])
        hot[7] = 0
    explainer, solution, fit = fitted(network, samples, count, scaling, hot.float() if multi_hot else None)
    assert (fit.sums is None) == (count == 0)
    x, targets = scaled(samples.x.double().numpy(), scaling), hot.double().numpy()
    mean = targets.mean(axis=0) if scaling == "standardized" else np.zeros(CLASSES)
    expected = lasso(x, targets - mean, MUS[scaling])
    objective = np.square(x @ expected - (targets - mean)).sum(axis=0)
    assert objective == pytest.approx(solution.objective.numpy(), rel=1e-5)
    assert (np.abs(np.linalg.norm(expected, 1, axis=0)) < 1.001 * MUS[scaling]).all()
    assert bool(solution.converged.all())
    np.testing.assert_allclose(explainer.weights.detach().numpy(), expected, atol=2e-4 * MUS[scaling])
    assert explainer.weights.detach().abs().sum(dim=0).numpy() == pytest.approx(MUS[scaling], rel=1e-5)
    np.testing.assert_allclose(explainer.intercept, mean, atol=1e-6)
    scores = explainer.class_scores(samples.x).detach().numpy()
    np.testing.assert_allclose(scores, x @ expected + mean, atol=1e-3)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_sums_and_rows_give_the_same(network: nn.Module, samples: Samples, scaling: str) -> None:
    one, first, _ = fitted(network, samples, 10**6, scaling)
    two, second, _ = fitted(network, samples, 0, scaling)
    for name, value in one.head_state().items():
        torch.testing.assert_close(two.head_state()[name], value, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(first.objective, second.objective, rtol=1e-6, atol=0)


@pytest.mark.parametrize("count", [10**6, 0], ids=["sums", "rows"])
def test_a_large_mu_is_least_squares(network: nn.Module, samples: Samples, count: int) -> None:
    explainer = make(network, mu=1e6)
    fit = MuLassoFit(explainer, count)
    x = torch.randn(60, FILTERS, generator=torch.Generator().manual_seed(0))
    fit.update(x, samples.labels)
    fit.finish(tol=1e-9)
    expected = torch.linalg.lstsq(x.double(), label_matrix(samples.labels, CLASSES).double()).solution
    torch.testing.assert_close(explainer.weights.detach().double(), expected, atol=1e-5, rtol=1e-4)


def test_another_mu_along_the_path(network: nn.Module, samples: Samples) -> None:
    explainer, solution, fit = fitted(network, samples, 10**6, "unit")
    for mu in (0.4, 1.5, 4.0):
        fit.use(solution.at(mu))
        afresh = make(network, scaling="unit", mu=mu)
        other = MuLassoFit(afresh, 10**6)
        other.update(samples.x, samples.labels)
        other.finish(tol=1e-9)
        torch.testing.assert_close(explainer.weights, afresh.weights, atol=1e-5, rtol=1e-4)
    given = make(network, scaling="unit", mu=7.0)
    other = MuLassoFit(given, 10**6)
    other.update(samples.x, samples.labels)
    other.finish(mu=4.0)
    torch.testing.assert_close(given.weights, explainer.weights, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match=r"mu is 0\.0; give a number above 0"):
        other.finish(mu=0.0)


def test_the_scaling_alone(network: nn.Module, samples: Samples) -> None:
    for scaling in SCALINGS:
        whole, _, _ = fitted(network, samples, 10**6, scaling)
        explainer = make(network, scaling=scaling)
        fit = ScalingFit(explainer)
        assert fit.needs_samples == (scaling in {"unit", "standardized"})
        if fit.needs_samples:
            fit.update(samples.x[:25], samples.labels[:25])
            fit.update(samples.x[25:], label_matrix(samples.labels[25:], CLASSES))
        fit.finish()
        for name in ("intercept", "scaling.shift", "scaling.factor"):
            torch.testing.assert_close(explainer.head_state()[name], whole.head_state()[name])
        assert not explainer.weights.any()


def test_the_standardized_scaling_can_tell_more_than_the_paper_s(network: nn.Module, samples: Samples) -> None:
    """Dead and constant filters get no weight; what is left has variance 1."""
    explainer, _, _ = fitted(network, samples, 10**6, "standardized")
    assert not explainer.weights[[1, 8]].any()
    x = explainer.scaling(samples.x)
    assert not x[:, [1, 8]].any()
    live = [index for index in range(FILTERS) if index not in {1, 8}]
    torch.testing.assert_close(x[:, live].mean(dim=0), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, live].std(dim=0, correction=0), torch.ones(12), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("labels", "count"), [(torch.tensor([0, 5, 1]), 6), (torch.ones(3, 4), 4), (torch.ones(3, 2), 2)]
)
def test_labels_of_other_classes_than_the_logits(network: nn.Module, labels: Tensor, count: int) -> None:
    told = f"The data set has labels of {count} classes, but the backbone has 3 logits"
    for fit in (MuLassoFit(make(network), 0), MuLassoFit(make(network), 100), ScalingFit(make(network))):
        with pytest.raises(ValueError, match=told):
            fit.update(torch.rand(3, FILTERS), labels)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("count", [0, 10**6])
def test_a_fit_without_samples_is_refused(network: nn.Module, scaling: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"no training samples"):
        MuLassoFit(make(network, scaling=scaling), count).finish()


@pytest.mark.parametrize("count", [0, 10**6])
def test_responses_that_are_not_numbers_are_refused(network: nn.Module, samples: Samples, count: int) -> None:
    samples.x[3, 4] = torch.nan
    fit = MuLassoFit(make(network), count)

    def whole() -> None:
        fit.update(samples.x, samples.labels)
        fit.finish()

    with pytest.raises(ValueError, match="NaN or infinity"):
        whole()
