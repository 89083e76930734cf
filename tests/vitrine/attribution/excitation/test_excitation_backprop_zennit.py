"""Excitation backprop against zennit's, and gates that only their sigmoid tells."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from zennit.composites import ExcitationBackprop as TheirExcitationBackprop

from vitrine.attribution import ExcitationBackprop


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def theirs(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Zennit's map with biases zeroed in the rule and without its stabilizer."""
    composite = TheirExcitationBackprop(stabilizer=1e-200, zero_params=["bias"])
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        output = modified(x)
        start = torch.zeros_like(output).scatter_(1, target[:, None], 1.0)
        (mass,) = torch.autograd.grad(output, x, start)
    return mass.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("network", ["vgg11", "squeezenet1_0", "alexnet"])
def test_equals_zennit_on_inputs_that_are_not_negative(network: str) -> None:
    model = get_model(network, weights=None, num_classes=10).double().eval()
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    target = model(x).argmax(dim=1)
    expected = theirs(model, x, target)
    actual = ExcitationBackprop(model).attribute(x, target)
    assert expected.sum(dim=(1, 2, 3)).min() > 0.9
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-5 * float(expected.max()))


class Gated(nn.Module):
    """A gate of the same size as what it gates: its sigmoid alone tells which is which."""

    def __init__(self, *, gate_first: bool) -> None:
        super().__init__()
        self.features = nn.Linear(12, 6)
        self.gate = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)
        self.gate_first = gate_first

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images.flatten(1)).relu()
        gate = self.gate(x).sigmoid()
        logits: Tensor = self.head(gate * x if self.gate_first else x * gate)
        return logits


@pytest.mark.parametrize("gate_first", [False, True])
def test_a_gate_of_the_same_size_gets_no_mass(gate_first: bool) -> None:
    model = Gated(gate_first=gate_first).double()
    x = torch.rand(2, 3, 2, 2, dtype=torch.float64)
    features = model.features(x.flatten(1)).relu()
    gated = features * model.gate(features).sigmoid()
    mass = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(2, 3)
    for layer, activation in ((model.head, gated), (model.features, x.flatten(1))):
        up = layer.weight.clamp(min=0)
        sums = activation @ up.T
        mass = activation * (torch.where(sums > 0, mass / sums, 0) @ up)
    torch.testing.assert_close(ExcitationBackprop(model).attribute(x, 1).flatten(1), mass.view(2, 3, 4).sum(dim=1))
