"""Attention in every spelling against explicit matrices, in float64; its options, and what is not kept of it."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.naive_excitation import all_maps, quotient
from vitrine.attribution import ExcitationBackprop, excitation_maps
from vitrine.attribution.autograd.interception import backward_of
from vitrine.attribution.excitation.gates import ExcitationInterception, GateMarks
from vitrine.attribution.excitation.rules import excitation_rules

pytestmark = pytest.mark.usefixtures("doubles")

HEADS, TOKENS, SIZE = 2, 5, 4
BIAS = torch.linspace(-2, 2, TOKENS * TOKENS, dtype=torch.float64).view(TOKENS, TOKENS)
ALLOWED = (torch.arange(TOKENS)[:, None] + 2 * torch.arange(TOKENS)) % TOKENS < 3
NOWHERE = ALLOWED & (torch.arange(TOKENS) != 2)[:, None]


class Weights:
    """Projections of one attention layer, (D, D) each with biases."""

    def __init__(self, size: int = HEADS * SIZE, groups: int = HEADS) -> None:
        generator = torch.Generator().manual_seed(3)
        rows = {"q": size, "k": groups * SIZE, "v": groups * SIZE}
        self.weights = {name: torch.randn(n, size, generator=generator) for name, n in rows.items()}
        self.biases = {name: torch.randn(n, generator=generator) / 5 for name, n in rows.items()}

    def heads(self, name: str, x: Tensor) -> Tensor:
        """(B, H, N, E) from (B, N, D) tokens."""
        return F.linear(x, self.weights[name], self.biases[name]).unflatten(-1, (-1, SIZE)).transpose(1, 2)

    def __call__(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        q, k, v = (self.heads(name, x) for name in "qkv")
        return attend(q, k, v).transpose(1, 2).flatten(2)


def tokens(images: Tensor) -> Tensor:
    """(1, N, D) from a (1, 1, N, D) image."""
    return images[:, 0]


def naive_weights(weights: Weights, x: Tensor, options: dict[str, Any]) -> Tensor:
    """(1, H, N, N) attention weights, written out."""
    q, k = weights.heads("q", x), weights.heads("k", x)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = torch.einsum("bhie,bhje->bhij", q, k) * options.get("scale", 1 / math.sqrt(SIZE))
    mask = torch.ones(TOKENS, TOKENS).tril().bool() if options.get("is_causal") else options.get("attn_mask")
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    return logits.softmax(-1).nan_to_num(0)


def naive_maps(weights: Weights, x: Tensor, options: dict[str, Any], treatment: str) -> Tensor:
    """(N · D, N, D) maps of all outputs, from P(v | z) and P(x | v)."""
    attention = naive_weights(weights, x, options)
    v = weights.heads("v", x)
    repeats = attention.shape[1] // v.shape[1]
    read = v if treatment == "raw" else v.clamp(min=0)
    repeated = read.repeat_interleave(repeats, dim=1)
    sums = torch.einsum("bhij,bhje->bhie", attention, repeated)
    mass = torch.eye(TOKENS * attention.shape[1] * SIZE).view(-1, TOKENS, attention.shape[1], SIZE).transpose(1, 2)
    at_values = repeated * torch.einsum("bhij,khie->khje", attention, quotient(mass, sums.expand_as(mass)))
    at_values = at_values.unflatten(1, (-1, repeats)).sum(2).transpose(1, 2).flatten(2)
    up, down = weights.weights["v"].clamp(min=0), weights.weights["v"].clamp(max=0)
    positive, negative = (x, 0 * x) if treatment == "raw" else (x.clamp(min=0), x.clamp(max=0))
    sums = positive @ up.T + (negative @ down.T if treatment == "zplus" else 0)
    slopes = quotient(at_values, sums.expand_as(at_values))
    return positive * (slopes @ up) + (negative * (slopes @ down) if treatment == "zplus" else 0)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bool mask": {"attn_mask": ALLOWED},
    "a query that may look nowhere": {"attn_mask": NOWHERE},
    "float mask": {"attn_mask": BIAS},
    "causal": {"is_causal": True},
    "scale": {"scale": 3.0},
    "grouped queries": {"enable_gqa": True},
}


@pytest.mark.parametrize("treatment", ["clamp", "raw", "zplus"])
@pytest.mark.parametrize("name", OPTIONS)
def test_fused_attention_is_the_equation(name: str, treatment: str) -> None:
    options = OPTIONS[name]
    weights, x = Weights(groups=1 if "enable_gqa" in options else HEADS), torch.randn(1, 1, TOKENS, HEADS * SIZE)

    def forward(images: Tensor) -> Tensor:
        return weights(tokens(images), lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))

    expected = naive_maps(weights, tokens(x), options, treatment)
    torch.testing.assert_close(all_maps(forward, x, treatment), expected)
    assert expected.abs().sum() > 1


def scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(SIZE)


def masked_in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    attention = scores(q, k)
    attention += torch.zeros(TOKENS, TOKENS)
    attention.masked_fill_(~ALLOWED, -math.inf)
    return F.dropout(attention.softmax(-1), 0.5, training=False) @ v


def by_exponentials(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = scores(q, k).masked_fill(~ALLOWED, -math.inf)
    parts = (logits - logits.amax(-1, keepdim=True)).exp()
    return (parts / parts.sum(-1, keepdim=True)) @ v


def by_batches(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    added = torch.zeros(TOKENS, TOKENS).masked_fill(~ALLOWED, -math.inf).expand(len(q), -1, -1)
    logits = torch.baddbmm(added, q / math.sqrt(SIZE), k.mT)
    return torch.bmm(logits.softmax(-1), v)[None]


def packed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    keys, values = torch.stack([k, v], dim=2).unbind(2)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=ALLOWED)


def rotated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Both by the same angle, in the complex form, which changes no score."""
    angle = torch.polar(torch.ones(SIZE // 2), torch.arange(SIZE // 2) + 0.5)
    q, k = (
        torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * angle).flatten(-2)
        for x in (q, k)
    )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=ALLOWED)


SPELLINGS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "matmul, where, softmax": lambda q, k, v: torch.matmul(
        torch.where(ALLOWED, scores(q, k), -math.inf).softmax(-1), v
    ),
    "nn.Softmax": lambda q, k, v: (
        nn.Softmax(dim=-1)(scores(q, k) + torch.zeros(TOKENS, TOKENS).masked_fill(~ALLOWED, -1e300)) @ v
    ),
    "in place": masked_in_place,
    "bmm": by_batches,
    "einsum": lambda q, k, v: torch.einsum(
        "bhij,bhjd->bhid",
        F.softmax(torch.einsum("bhid,bhjd->bhij", q * SIZE**-0.5, k).masked_fill(~ALLOWED, -math.inf), dim=-1),
        v,
    ),
    "einsum, values first": lambda q, k, v: torch.einsum(
        "bhjd,bhij->bhid", v, torch.softmax(scores(q, k).masked_fill(~ALLOWED, -math.inf), -1)
    ),
    "transposed": lambda q, k, v: (v.mT @ scores(q, k).masked_fill(~ALLOWED, -math.inf).softmax(-1).mT).mT,
    "exponentials": by_exponentials,
    "keys and values in a packed tensor": packed,
    "products and a sum": lambda q, k, v: (
        scores(q, k).masked_fill(~ALLOWED, -math.inf).softmax(-1)[..., None] * v[..., None, :, :]
    ).sum(-2),
    "rolled": lambda q, k, v: F.scaled_dot_product_attention(
        q, k.roll(2, -2), v.roll(2, -2), attn_mask=ALLOWED.roll(2, -1)
    ),
    "rotary": rotated,
    "aten": lambda q, k, v: torch.ops.aten.scaled_dot_product_attention(q, k, v, ALLOWED),
}


def shared_maps(weights: Weights, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """(K, N, D) maps of all outputs with ``attention="shared"``."""

    def forward(images: Tensor) -> Tensor:
        return weights(tokens(images), attend).flatten(1)

    indices = torch.arange(forward(x).shape[1])[None]
    return excitation_maps(forward, x, indices, contrastive=False, attention="shared")[0][0]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_attention_written_by_hand_is_the_fused_one(spelling: str) -> None:
    weights, x = Weights(), torch.randn(1, 1, TOKENS, HEADS * SIZE)
    fused = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=ALLOWED)  # noqa: E731
    by_hand = SPELLINGS[spelling]
    torch.testing.assert_close(weights(tokens(x), by_hand), weights(tokens(x), fused))
    for treatment in ("clamp", "raw", "zplus"):
        expected = all_maps(lambda images: weights(tokens(images), fused), x, treatment)
        actual = all_maps(lambda images: weights(tokens(images), by_hand), x, treatment)
        torch.testing.assert_close(actual, expected)
    if by_hand is not rotated:  # complex numbers on the way of queries and keys
        torch.testing.assert_close(shared_maps(weights, x, by_hand), shared_maps(weights, x, fused))


@pytest.mark.parametrize("need_weights", [False, True])
def test_the_layer_of_torch_is_the_fused_one(need_weights: bool) -> None:
    size = HEADS * SIZE
    weights, layer = Weights(), nn.MultiheadAttention(size, HEADS, batch_first=True).eval()
    layer.in_proj_weight.data = torch.cat(list(weights.weights.values()))
    layer.in_proj_bias.data = torch.cat(list(weights.biases.values()))
    x = torch.randn(1, 1, TOKENS, size)

    def by_layer(images: Tensor) -> Tensor:
        t = tokens(images)
        attended: Tensor = layer(t, t, t, need_weights=need_weights, attn_mask=BIAS)[0]
        return attended

    def by_function(images: Tensor) -> Tensor:
        attended = weights(tokens(images), lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=BIAS))
        return F.linear(attended, layer.out_proj.weight)

    torch.testing.assert_close(all_maps(by_layer, x), all_maps(by_function, x))


def test_shared_attention_gives_a_half_to_queries_and_keys() -> None:
    """One head of one query: half of the mass at a value times its weight goes to either, the weight's on to q and k."""
    weights, x = Weights(SIZE, groups=1), torch.randn(1, 1, TOKENS, SIZE)
    q, k, v = (weights.heads(name, tokens(x))[0, 0] for name in "qkv")
    attention = naive_weights(weights, tokens(x), {})[0, 0]
    mass = torch.eye(TOKENS * SIZE).view(-1, TOKENS, SIZE)
    contributions = attention[:, :, None] * v.clamp(min=0)  # (i, j, d)
    shares = contributions * quotient(mass, contributions.sum(1).expand_as(mass))[:, :, None] / 2  # (m, i, j, d)
    products = q.clamp(min=0)[:, None] * k.clamp(min=0)  # (i, j, d)
    similar = shares.sum(-1)
    at_products = products * quotient(similar, products.sum(-1).expand_as(similar))[..., None] / 2
    expected = torch.zeros(len(mass), TOKENS, SIZE)
    for name, received in {"v": shares.sum(1), "q": at_products.sum(2), "k": at_products.sum(1)}.items():
        up, positive = weights.weights[name].clamp(min=0), tokens(x)[0].clamp(min=0)
        expected += positive * (quotient(received, (positive @ up.T).expand_as(received)) @ up)
    torch.testing.assert_close(shared_maps(weights, x, F.scaled_dot_product_attention), expected)


def test_an_unknown_treatment_of_attention_is_named() -> None:
    with pytest.raises(ValueError, match="attention is 'keys'; give 'values' or 'shared'"):
        ExcitationBackprop(nn.Identity(), attention="keys")  # type: ignore[arg-type]


def test_values_that_do_not_depend_on_the_pixels_are_refused() -> None:
    weights, table = Weights(), torch.rand(1, HEADS, TOKENS, SIZE)
    with pytest.raises(ValueError, match=r"scaled_dot_product_attention .* explain the logits or a layer before"):
        all_maps(
            lambda images: weights(tokens(images), lambda q, k, _: F.scaled_dot_product_attention(q, k, table)),
            torch.rand(1, 1, TOKENS, HEADS * SIZE),
        )


@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, lambda q, k, v: scores(q, k).softmax(-1) @ v])
def test_the_graph_of_queries_and_keys_is_not_kept(attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    weights, marks = Weights(), GateMarks()
    rules = excitation_rules("clamp", marks=marks)
    x = torch.rand(1, TOKENS, HEADS * SIZE).requires_grad_().clone()
    with ExcitationInterception(rules, marks, "cpu"):
        kept = {}

        def noting(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for name, heads in {"q": q, "k": k, "v": v}.items():
                node: Any = heads.grad_fn
                while not backward_of(node):
                    node = node.next_functions[0][0]
                kept[name] = weakref.ref(backward_of(node))
            return attend(q, k, v)

        output = weights(x, noting)
    assert [name for name, reference in kept.items() if reference() is not None] == ["v"]
    assert output.requires_grad
