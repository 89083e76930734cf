"""The map that always points at the middle."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution.center import Center


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_maximum_is_in_the_middle(height: int, width: int) -> None:
    centred = Center().attribute(torch.zeros(1, 3, height, width))[0, 0]
    row, column = divmod(int(centred.argmax()), width)
    assert (row, column) == ((height - 1) // 2, (width - 1) // 2)
    torch.testing.assert_close(centred, centred.flip(0, 1))
    assert 0 < centred.min() <= centred.max() <= 1


def test_values_by_hand() -> None:
    actual = Center().attribute(torch.zeros(2, 1, 1, 3))
    torch.testing.assert_close(actual, torch.tensor([0.5, 1, 0.5]).expand(2, 1, 1, 3))


class Refusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError(f"was run on {tuple(x.shape)}")


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (2, 1, 5, 6)),
        ({"target": 3}, (2, 1, 5, 6)),
        ({"target": [1, 2]}, (2, 1, 5, 6)),
        ({"target": torch.zeros(2, 3, dtype=torch.int64)}, (2, 3, 1, 5, 6)),
        ({"channel": torch.zeros(2, 3, dtype=torch.int64)}, (2, 3, 1, 5, 6)),
    ],
)
def test_units_and_models_change_nothing(arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    x = torch.rand(2, 3, 5, 6)
    actual = Center(Refusing(), "convolution", internal_batch_size=1).attribute(x, **arguments)
    torch.testing.assert_close(actual, Center().attribute(torch.zeros(1, 3, 5, 6)).expand(shape))
