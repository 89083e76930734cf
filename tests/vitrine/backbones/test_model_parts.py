"""One walk over a model finds what its own walks find."""

import pytest
import torch
from torch import nn

from vitrine.backbones.model_parts import parts_of


def nested() -> nn.Module:
    block = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    return nn.Sequential(block, nn.ReLU(), block, nn.Sequential(nn.BatchNorm2d(4, affine=False), nn.Linear(4, 2)))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("scripted", [False, True])
def test_each_part_once_in_order(scripted: bool) -> None:
    model = torch.jit.script(nested()) if scripted else nested()
    parts = parts_of(model)
    assert [id(one) for one in parts.modules] == [id(one) for one in model.modules()]
    assert [one.shape for one in parts.parameters] == [one.shape for one in model.parameters()]
    assert len(parts.buffers) == len(list(model.buffers())) == 6
    assert len(parts.plain_modules) == (0 if scripted else len(parts.modules))
