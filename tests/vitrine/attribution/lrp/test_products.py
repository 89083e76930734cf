"""Products of activations, attention and quotients under LRP."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.lrp_relevance import random, relevance
from vitrine.attribution.lrp.composites import composite_named

MATMULS: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.matmul, torch.bmm, lambda a, b: a @ b, lambda a, b: torch.einsum("bij,bjk->bik", a, b),
    lambda a, b: torch.baddbmm(torch.zeros(1, dtype=a.dtype), a, b), lambda a, b: F.linear(a[0], b[0].T)[None],
]  # fmt: skip


@pytest.mark.parametrize("matmul", MATMULS)
def test_a_product_of_activations_shares_equally(matmul: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(1)
    a, b, of = random(1, 3, 4), random(1, 4, 5), random(1, 3, 5)
    joined = torch.cat([a.flatten(), b.flatten()])[None]
    found = relevance(lambda x: matmul(x[:, :12].view(1, 3, 4), x[:, 12:].view(1, 4, 5)), joined, of)[0]
    shares = a[0, :, :, None] * b[0, None] * (of / (2 * (a @ b)))[0, :, None]  # i, j, k
    torch.testing.assert_close(found[:12].view(3, 4), shares.sum(dim=2))
    torch.testing.assert_close(found[12:].view(4, 5), shares.sum(dim=0))
    torch.testing.assert_close(found.sum(), of.sum())


@pytest.mark.parametrize(
    ("product", "shares"),
    [
        (lambda a, b: a * b, (0.5, 0.5)),
        (lambda a, b: a.clone().mul_(b), (0.5, 0.5)),
        (lambda a, b: a * b.sigmoid(), (1, 0)),
        (lambda a, b: F.hardsigmoid(b) * a, (1, 0)),
        (lambda a, b: a * F.silu(b), (0.5, 0.5)),
        (lambda a, b: a / b, (1, 0)),
        (lambda a, b: a / (b**2).mean(dim=1, keepdim=True).sqrt(), (1, 0)),
        (lambda a, b: a * torch.rsqrt(b**2), (1, 0)),
        (lambda a, b: F.glu(torch.cat([a, b], dim=1), dim=1), (1, 0)),
    ],
)
def test_gates_and_denominators(product: Callable[[Tensor, Tensor], Tensor], shares: tuple[float, float]) -> None:
    torch.manual_seed(1)
    x, of = random(2, 8), random(2, 4)
    found = relevance(lambda x: product(x[:, :4], x[:, 4:]), x, of)
    for part, share in zip(found.split(4, dim=1), shares, strict=True):
        torch.testing.assert_close(part, share * of)


def explicit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    scores = (q @ k.transpose(-2, -1)) * scale
    return (scores if mask is None else scores + mask).softmax(dim=-1) @ v


@pytest.mark.parametrize(
    ("which", "attention"),
    [*((which, "attn") for which in ("qkv", "q", "k", "v", "kv")), ("qkv", "constant"), ("v", "constant")],
)
def test_fused_attention_is_attention_by_its_parts(which: str, attention: Any) -> None:
    torch.manual_seed(5)
    fixed = {name: random(2, 2, 5, 3) for name in "qkv"}
    x, of = random(2, 90), random(2, 2, 5, 3)
    mask = torch.zeros(5, 5, dtype=torch.double).masked_fill(torch.ones(5, 5).triu(1).bool(), float("-inf"))
    composite = composite_named("epsilon", 0.0, attention=attention)

    def parts(x: Tensor) -> list[Tensor]:
        own = dict(zip("qkv", x.view(2, 3, 2, 5, 3).unbind(dim=1), strict=True))
        return [own[name] if name in which else fixed[name] for name in "qkv"]

    def by_hand(x: Tensor) -> Tensor:
        q, k, v = parts(x)
        return explicit(q, k, v, mask, 0.7)

    options: dict[str, Any]
    for options in ({"attn_mask": mask, "scale": 0.7}, {"is_causal": True, "scale": 0.7}):
        attend = partial(F.scaled_dot_product_attention, **options)
        fused = relevance(lambda x, attend=attend: attend(*parts(x)), x, of, composite)  # type: ignore[misc]
        by_parts = relevance(by_hand, x, of, composite)
        torch.testing.assert_close(fused, by_parts)
        if which == "v" or attention == "constant":
            torch.testing.assert_close(fused.sum(), of.sum())


def test_grouped_queries() -> None:
    torch.manual_seed(6)
    x, of = random(1, 96), random(1, 4, 4, 3)

    def heads(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x[:, :48].view(1, 4, 4, 3), x[:, 48:72].view(1, 2, 4, 3), x[:, 72:].view(1, 2, 4, 3)

    def repeated(x: Tensor) -> Tensor:
        q, k, v = heads(x)
        return explicit(q, k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1), None, 3**-0.5)

    fused = relevance(lambda x: F.scaled_dot_product_attention(*heads(x), enable_gqa=True), x, of)
    torch.testing.assert_close(fused, relevance(repeated, x, of))
