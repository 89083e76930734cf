import torch
from torch import nn

from vitrine.attribution.autograd.noted_outputs import noted


def test_the_last_call_with_its_values_and_its_place_whatever_follows() -> None:
    relu = nn.ReLU(inplace=True)
    model = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu)
    pixels = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with noted(model, "2") as low, noted(model, "1") as last:
        output = model(pixels)
    assert [found[0].layer for found in (low, last)] == ["2", "1"]
    assert (low[0].values < 0).any()  # as they were before the rectifier worked in place
    torch.testing.assert_close(last[0].values, output.detach())
    (gradient,) = torch.autograd.grad(output.sum(), [low[0].edge])
    torch.testing.assert_close(gradient, (low[0].values > 0).float())
    assert not any(module._forward_hooks for module in model.modules())


def test_nothing_is_noted_outside_of_a_graph() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    with noted(model, "0") as found, torch.no_grad():
        model(torch.ones(1, 3))
    assert found == []
