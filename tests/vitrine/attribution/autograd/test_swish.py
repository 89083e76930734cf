"""Swish written out: recognised as the rectifier that it is, against `torch.nn.functional.silu` and QuickGELU's slope."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution import Deconvnet, GuidedBackprop


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self.second(self.function(self.first(x))))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def maps(method: type[Deconvnet], function: Callable[[Tensor], Tensor]) -> Tensor:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    return method(Net(function).double().eval()).attribute(images, 1)


@pytest.mark.parametrize("method", [Deconvnet, GuidedBackprop])
@pytest.mark.parametrize(
    "written", [lambda x: x * x.sigmoid(), lambda x: torch.sigmoid(x) * x, lambda x: x * (1 * x).sigmoid()]
)
def test_silu_written_out_is_silu(method: type[Deconvnet], written: Callable[[Tensor], Tensor]) -> None:
    torch.testing.assert_close(maps(method, written), maps(method, F.silu))


def test_quick_gelu_is_a_scaled_silu() -> None:
    expected = maps(GuidedBackprop, lambda x: F.silu(1.702 * x) / 1.702)
    torch.testing.assert_close(maps(GuidedBackprop, lambda x: x * torch.sigmoid(1.702 * x)), expected)
    plain = maps(Deconvnet, F.silu)  # the backward pass of a deconvnet does not depend on the rectifier
    torch.testing.assert_close(maps(Deconvnet, lambda x: x * torch.sigmoid(1.702 * x)), plain)


@pytest.mark.parametrize(
    "gate", [lambda x: (-x).sigmoid(), lambda x: (x + 1).sigmoid(), lambda x: x.roll(1, 1).sigmoid()]
)
def test_other_gates_are_no_swish(gate: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="met no ReLU"):
        maps(Deconvnet, lambda x: x * gate(x))
