"""A network's forward pass without guards: logits of any output, layers' outputs as they were, nothing left behind."""

import torch
from torch import nn

from tests.helpers.exported_networks import IMAGES, LogitMaps, built
from vitrine.backbones import FrozenBackbone
from vitrine.export.tapped_network import TappedNetwork


@torch.no_grad()
def test_outputs_of_layers_are_those_before_what_works_in_place() -> None:
    backbone = built()
    logits, seen = TappedNetwork(backbone, ("3", "4"))(IMAGES)
    expected = backbone(IMAGES, taps=["3", "4"])
    torch.testing.assert_close(logits, expected.logits)
    assert seen["3"].min() < 0  # the ReLU behind it works in place
    assert all(torch.equal(seen[name], expected.taps[name]) for name in ("3", "4"))


@torch.no_grad()
def test_logits_in_a_dict_by_the_backbones_choice() -> None:
    backbone = FrozenBackbone(LogitMaps(), output="out")
    hooks = len(backbone.model._forward_hooks)
    torch.testing.assert_close(TappedNetwork(backbone)(IMAGES)[0], backbone(IMAGES).logits)
    assert len(backbone.model._forward_hooks) == hooks


@torch.no_grad()
def test_one_value_an_image_is_one_logit() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1), nn.Flatten(0))
    assert TappedNetwork(FrozenBackbone(model))(IMAGES)[0].shape == (5, 1)
