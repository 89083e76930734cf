"""Greedy pretraining: a naive autoencoder of one layer, whose gradient reaches no other."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrine.explainers.srae.heads import SRAEHead
from vitrine.explainers.srae.losses import greedy_loss

HIDDEN = (7, 5)


def head_and_inputs() -> tuple[SRAEHead, Tensor]:
    torch.manual_seed(0)
    return SRAEHead(9, 3, HIDDEN).double(), torch.rand(6, 9, dtype=torch.float64)


def layers_of(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def naive(head: SRAEHead, inputs: Tensor, depth: int) -> Tensor:
    """(N, width) squared errors."""
    assert head.decoder is not None
    before = inputs
    for layer in layers_of(head.encoder)[:depth]:
        before = F.relu(F.linear(before, layer.weight, layer.bias))
    layer, mirror = layers_of(head.encoder)[depth], layers_of(head.decoder)[len(HIDDEN) - depth]
    assert (mirror.in_features, mirror.out_features) == (layer.out_features, layer.in_features)
    code = F.relu(F.linear(before, layer.weight, layer.bias))
    return (F.linear(code, mirror.weight, mirror.bias) - before).square()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_it_is_the_error_of_one_layer_and_its_mirror(depth: int) -> None:
    head, inputs = head_and_inputs()
    assert head.decoder is not None
    loss = greedy_loss(head.encoder, head.decoder, inputs, depth)
    assert float(loss.detach()) == pytest.approx(float(naive(head, inputs, depth).mean().detach()), rel=1e-5)
    loss.backward()
    taught = [layers_of(head.encoder)[depth], layers_of(head.decoder)[len(HIDDEN) - depth]]
    wanted = {id(parameter) for layer in taught for parameter in layer.parameters()}
    assert {id(parameter) for parameter in head.parameters() if parameter.grad is not None} == wanted
    assert all(layer.weight.grad is not None and layer.weight.grad.any() for layer in taught)


@pytest.mark.parametrize("depth", [0, 2])
def test_inputs_of_weight_0_take_no_part(depth: int) -> None:
    head, inputs = head_and_inputs()
    assert head.decoder is not None
    weights = torch.tensor([1.0, 0, 1, 1, 0, 0])
    found = greedy_loss(head.encoder, head.decoder, inputs, depth, weights=weights)
    alone = greedy_loss(head.encoder, head.decoder, inputs[weights > 0], depth)
    torch.testing.assert_close(found, alone)
