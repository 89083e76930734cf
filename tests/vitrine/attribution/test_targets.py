"""Targets: one index, one an input, or several; and indices that make no sense."""

from typing import Any

import numpy as np
import pytest
import torch

from vitrine.attribution.targets import Target, check_indices, index_tensor

OUTPUT = torch.tensor([[0.0, 3, 1, 2], [4, 0, 1, 2], [0, 1, 5, 2]])


@pytest.mark.parametrize(
    ("indices", "resolved", "count"),
    [
        (None, [[1], [0], [2]], 1),
        (torch.tensor(3), [[3], [3], [3]], 1),
        (torch.tensor([0, 1, 2]), [[0], [1], [2]], 1),
        (torch.tensor([[0, 3], [1, 1], [2, 0]]), [[0, 3], [1, 1], [2, 0]], 2),
    ],
)
def test_targets_of_a_batch_and_of_its_parts(indices: Any, resolved: list[list[int]], count: int) -> None:
    target = Target(indices)
    assert target.resolve(OUTPUT).tolist() == resolved
    assert target.num_maps == count
    assert target.is_multiple == (count == 2)
    assert target.select(slice(1, 3)).resolve(OUTPUT[1:]).tolist() == resolved[1:]


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range_is_named(index: int) -> None:
    with pytest.raises(ValueError, match=f"target {index} is out of range: .* 0 to 3"):
        Target(torch.tensor(index)).resolve(OUTPUT)
    with pytest.raises(ValueError, match=f"channel {index} is out of range"):
        Target(torch.tensor([0, index, 0]), layer="features").resolve(OUTPUT)
    check_indices(torch.tensor([0, 3]), 4)


@pytest.mark.parametrize(
    "indices", [2, [0, 1], (0, 1), torch.tensor([0, 1], dtype=torch.int32), [[0, 1, 2], [3, 4, 5]]]
)
def test_indices_in_any_form(indices: Any) -> None:
    tensor = index_tensor(indices, 2, "target")
    assert tensor.dtype == torch.int64
    assert tensor.tolist() == torch.as_tensor(indices).tolist()


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (1.0, "target must hold integer indices, got torch.float32"),
        (True, "target must hold integer indices, got booleans"),
        ([True, False], "target must hold integer indices, got booleans"),
        ([[0, 1], [True, 1]], "target must hold integer indices, got booleans"),
        (torch.tensor([True, False]), "target must hold integer indices, got torch.bool"),
        (np.True_, "target must hold integer indices, got booleans"),
        (np.float32(1), "target must hold integer indices, got torch.float32"),
        (1j, "target must hold integer indices, got torch.complex64"),
        ("1", "target must hold integer indices, got '1'"),
        (["cat", "dog"], "target must hold integer indices"),
        ([0, None], "target must hold integer indices"),
        ([0, 1, 2], r"one for each of the 2 inputs, or \(2, K\), got \(3,\)"),
        ([[[0]], [[1]]], r"got \(2, 1, 1\)"),
    ],
)
def test_indices_that_do_not_fit(indices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_tensor(indices, 2, "target")
