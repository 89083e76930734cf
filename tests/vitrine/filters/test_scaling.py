"""What responses are multiplied with, against numpy on the data itself."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrine.filters.scaling import SCALINGS, ResponseScaling, Scaling

WIDTHS = torch.tensor([3, 3, 3, 4, 4, 4, 4])


def responses(count: int = 50) -> Tensor:
    """(N, 7) float32, of layers of 3 and 4 filters; filter 1 never answers, filter 5 always the same."""
    x = torch.rand(count, 7, generator=torch.Generator().manual_seed(0)) + 0.1
    x[:, 1] = 0
    x[:, 5] = 0.3
    return x


def fitted(scaling: Scaling, x: Tensor, widths: Tensor = WIDTHS) -> ResponseScaling:
    module = ResponseScaling(x.shape[1], scaling)
    wide = x.double()
    module.fit(len(x), wide.sum(dim=0), (wide**2).sum(dim=0), widths)
    return module


def in_numpy(scaling: Scaling, x: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        match scaling:
            case "paper":
                return x
            case "width":
                return x * np.array([3, 3, 3, 4, 4, 4, 4])
            case "unit":
                scaled = x / np.sqrt((x**2).sum(axis=0))
            case _:
                scaled = (x - x.mean(axis=0)) / x.std(axis=0)
                scaled[:, 5] = 0
    return np.nan_to_num(scaled, nan=0)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_numpy_gives_the_same(scaling: Scaling) -> None:
    x = responses()
    found = fitted(scaling, x)(x)
    torch.testing.assert_close(
        found.double(), torch.from_numpy(in_numpy(scaling, x.double().numpy())), rtol=1e-5, atol=1e-5
    )
    assert found.dtype == torch.float32


def test_a_layer_that_sums_to_one_has_a_mean_response_of_one() -> None:
    x = responses()
    x = torch.cat([part / part.sum(dim=1, keepdim=True) for part in (x[:, :3], x[:, 3:])], dim=1)
    scaled = fitted("width", x)(x)
    torch.testing.assert_close(scaled[:, :3].mean(dim=1), torch.ones(50))
    torch.testing.assert_close(scaled[:, 3:].mean(dim=1), torch.ones(50))


def test_dead_filters_become_zero() -> None:
    x = responses()
    assert not fitted("unit", x)(x)[:, 1].any()
    standardized = fitted("standardized", x)
    assert not standardized(x)[:, [1, 5]].any()
    assert standardized.factor[[1, 5]].tolist() == [0, 0]


@pytest.mark.parametrize("count", [3, 1000, 100_000])
def test_rounding_is_no_variance(count: int) -> None:
    """A filter that is a layer of its own answers 1 up to rounding; divided by its own spread it would be noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.stack([1 + 1e-7 * torch.randn(count, generator=generator), torch.rand(count, generator=generator)], dim=1)
    scaling = fitted("standardized", x, torch.tensor([1, 1]))
    assert scaling.factor[0] == 0
    assert scaling.factor[1] > 1


def test_a_small_variance_is_kept() -> None:
    x = 1 + 1e-4 * torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    scaled = fitted("standardized", x, torch.tensor([1]))(x)
    torch.testing.assert_close(scaled.std(correction=0), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_only_standardized_has_an_intercept() -> None:
    assert [ResponseScaling(2, scaling).has_intercept for scaling in SCALINGS] == [False, False, False, True]


def test_it_comes_back_from_its_state() -> None:
    x = responses()
    scaling = fitted("standardized", x)
    other = ResponseScaling(7, "standardized")
    assert torch.equal(other(x), x)
    other.load_state_dict(scaling.state_dict())
    assert torch.equal(other(x), scaling(x))
    assert set(scaling.state_dict()) == {"shift", "factor"}


def test_an_unknown_scaling() -> None:
    with pytest.raises(ValueError, match="scaling is 'none'; give 'paper', 'width', 'unit' or 'standardized'"):
        ResponseScaling(7, "none")  # type: ignore[arg-type]
