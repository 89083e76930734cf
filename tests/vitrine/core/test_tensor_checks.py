"""Tensors of files: what makes no sense in the place of another."""

import pytest
import torch
from torch import Tensor

from vitrine.core.tensor_checks import check_tensors

WANTED = {"weight": torch.ones(2, 3), "count": torch.tensor(4), "mask": torch.tensor([0.0, float("-inf")])}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", torch.ones(3, 2), r"'weight' has shape \(3, 2\) there and \(2, 3\) here"),
        ("weight", torch.ones(2, 3, dtype=torch.int64), r"'weight' is of torch\.int64 there and torch\.float32"),
        ("weight", torch.ones(2, 3, dtype=torch.bool), r"'weight' is of torch\.bool"),
        ("weight", torch.ones(2, 3, dtype=torch.complex64), r"'weight' is of torch\.complex64"),
        ("weight", torch.full((2, 3), float("nan")), "'weight' has 6 of 6 entries that are NaN or infinite"),
        ("weight", torch.tensor([[1.0, 2, 3], [4, 5, float("inf")]]), "'weight' has 1 of 6"),
        ("weight", torch.full((2, 3), 1e300, dtype=torch.float64), "'weight' has 6 of 6"),
        ("weight", torch.ones(2, 3).to_sparse(), "'weight' is sparse"),
        ("weight", torch.ones(2, 3, device="meta"), "'weight' is a meta tensor"),
        ("weight", torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8), "'weight' is quantised"),
        ("count", torch.tensor(4.0), r"'count' is of torch\.float32 there and torch\.int64"),
        ("mask", torch.tensor([float("nan"), 0.0]), "'mask' has 1 of 2"),
    ],
)
def test_what_is_refused(name: str, value: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=f"^file: {message}"):
        check_tensors({name: value}, WANTED, "file", {"mask"})


def test_what_is_taken() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        check_tensors({"weight": torch.ones(2, 3, dtype=dtype), "other": torch.ones(1)}, WANTED, "file")
    check_tensors({"mask": WANTED["mask"], "count": torch.tensor(3, dtype=torch.int32)}, WANTED, "file", {"mask"})
    with pytest.raises(ValueError, match="'mask' has 1 of 2"):
        check_tensors({"mask": WANTED["mask"]}, WANTED, "file")  # of a parameter
