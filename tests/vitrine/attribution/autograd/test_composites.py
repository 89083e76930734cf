"""Composite functions are opened: their operators are seen, and their values stay the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitrine.attribution.autograd.composites import COMPOSITES, opened
from vitrine.attribution.autograd.interception import Interception


def names_seen(run: Callable[[torch.Tensor], Any], pixels: torch.Tensor) -> tuple[set[str], Any]:
    """The names of those operators among a few that a mode sees, and the output."""
    seen: set[str] = set()

    def note(call: Any) -> Any:
        seen.add(call.name)
        return NotImplemented

    rules = dict.fromkeys(("linear", "scaled_dot_product_attention", "softmax", "baddbmm", "bmm", "div"), note)
    with Interception(rules):
        output = run(pixels.requires_grad_().clone())
    return seen, output


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("options", [{}, {"kdim": 5, "vdim": 7}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_multi_head_attention_is_seen_as_its_operators(need_weights: bool, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True, **options).eval()
    key = torch.rand(3, 6, options.get("kdim", 8))
    value = torch.rand(3, 6, options.get("vdim", 8))
    mask = torch.rand(4, 6) > 0.7

    def run(tokens: torch.Tensor) -> Any:
        return attention(tokens, key, value, need_weights=need_weights, attn_mask=mask)

    tokens = torch.rand(3, 4, 8)
    seen, (output, weights) = names_seen(run, tokens.clone())
    with torch.no_grad():
        plain, plain_weights = run(tokens)
    torch.testing.assert_close(output, plain)
    assert seen >= ({"linear", "softmax", "bmm"} if need_weights else {"linear", "scaled_dot_product_attention"})
    assert (weights is None) == (plain_weights is None)


def test_a_rule_for_the_whole_is_kept() -> None:
    attention = nn.MultiheadAttention(4, 1, batch_first=True).eval()
    with Interception({"multi_head_attention_forward": lambda call: (call.operand * 2, None)}):
        tokens = torch.rand(1, 3, 4, requires_grad=True).clone()
        output, _ = attention(tokens, tokens, tokens)
    torch.testing.assert_close(output, tokens * 2)


def test_normalize_is_a_division() -> None:
    pixels = torch.rand(2, 5)
    seen, output = names_seen(lambda x: F.normalize(x, dim=1), pixels.clone())
    assert seen == {"div"}
    torch.testing.assert_close(output, pixels / pixels.norm(dim=1, keepdim=True))


def test_every_composite_can_be_opened_and_torch_stays_as_it_is() -> None:
    for function in COMPOSITES:
        copy: Any = opened(function)
        assert copy is not function
        assert copy.__globals__["has_torch_function"] is not function.__globals__["has_torch_function"]
    with pytest.raises(ValueError, match="not written in Python"):
        opened(torch.relu)
