"""Attention methods: relevance taken from states to states, and refusals that name a method that works."""

import re
from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.mlp_mixer import MlpMixer
from torch import nn

from vitrine.attribution import AttentionRelevance, AttentionRollout, Method
from vitrine.attribution.attention.attention_method import Transition, propagated
from vitrine.attribution.attention.token_flow import NOWHERE, PATCHES, States, Step, TokenFlow
from vitrine.attribution.layouts import TokenGrid
from vitrine.attribution.registry import method_named


def states(*pairs: tuple[int, int]) -> States:
    return States(torch.tensor([pair[0] for pair in pairs]), torch.tensor([pair[1] for pair in pairs]))


def test_relevance_goes_by_the_states() -> None:
    """Two patches through one attention, then a class token that comes late and looks at both."""
    patches = states((PATCHES, 0), (PATCHES, 1))
    late = states((NOWHERE, 0), (0, 0), (0, 1))
    steps = {0: Step((1,), 2, patches, patches), 1: Step((1,), 1, late, states((NOWHERE, 0)))}
    flow = TokenFlow(steps, 2, states((1, 0), (0, 1)), torch.tensor([0.5, 0.5]), TokenGrid(torch.tensor([[0, 1]])))
    first, second = torch.tensor([[[0.9, 0.1], [0.3, 0.7]]]), torch.tensor([[[0.2, 0.5, 0.3]]])
    transitions = {0: Transition(first, 1.0), 1: Transition(second, 7.0)}
    row = 0.5 * second[0, 0, 1:] + torch.tensor([0.0, 0.5])
    torch.testing.assert_close(propagated(flow, transitions, 1, first)[0], row @ first[0] + row)


@pytest.mark.parametrize("method", [AttentionRollout, AttentionRelevance])
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: timm.create_model("resnet10t"), 64),
        (lambda: timm.create_model("swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1)), 56),
        (lambda: MlpMixer(num_classes=3, img_size=16, patch_size=4, num_blocks=1, embed_dim=16), 16),
    ],
)
def test_a_refusal_names_a_method_that_works(method: type[Method], make: Callable[[], nn.Module], size: int) -> None:
    model, images = make().eval(), torch.rand(1, 3, size, size)
    with pytest.raises(ValueError, match="needs attention over all tokens") as refused:
        method(model).attribute(images)
    named = re.search(r"; use (\w+)\.$", str(refused.value))
    assert named is not None
    assert method_named(named[1])(model).attribute(images).isfinite().all()
