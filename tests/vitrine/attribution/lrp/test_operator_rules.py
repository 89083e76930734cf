"""LRP rules of operators without weights, against the formulas of AttnLRP in terms of relevance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.lrp.composites import composite_named
from vitrine.attribution.lrp.propagation import propagating, propagation

PLAIN = composite_named("epsilon", epsilon=0.0)


def relevance(function: Callable[[Tensor], Tensor], x: Tensor, of: Tensor, composite: Any = PLAIN) -> Tensor:
    """Relevance of x from relevance ``of`` the output."""
    with propagating("cpu"):
        passed, _ = propagation(lambda image: (function(image), None), x, composite)
        signal = torch.where(passed.output == 0, 0, of / passed.output.detach())
        (found,) = torch.autograd.grad(passed.output, passed.pixels, signal)
    return found


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    F.relu, F.relu6, F.gelu, F.silu, F.hardswish, F.leaky_relu, F.elu, F.mish, F.softplus, torch.tanh, torch.sigmoid,
    lambda x: F.silu(x.clone(), inplace=True), lambda x: x.clamp(min=-0.5), lambda x: x**2, torch.abs,
    lambda x: F.local_response_norm(x, 2),
]  # fmt: skip


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_activation_functions_pass_relevance_on(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    x, of = 4 * random(2, 3, 4, 4), random(2, 3, 4, 4)
    expected = torch.where(function(x) == 0, 0, of)
    torch.testing.assert_close(relevance(function, x, of), expected)


def test_softmax_has_its_taylor_expansion() -> None:
    torch.manual_seed(0)
    x, of = random(2, 5), random(2, 5)
    expected = x * (of - x.softmax(dim=1) * of.sum(dim=1, keepdim=True))
    torch.testing.assert_close(relevance(lambda x: x.softmax(dim=1), x, of), expected)
    held = relevance(lambda x: x.softmax(dim=1) * x, x, of, composite_named("epsilon", 0.0, attention="constant"))
    torch.testing.assert_close(held, of)


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


def centred(x: Tensor, of: Tensor, dims: tuple[int, ...]) -> Tensor:
    """x_j Σ_i (δ_ij − 1/n) R_i / (x_i − mean)."""
    ratio = of / (x - x.mean(dim=dims, keepdim=True))
    return x * (ratio - ratio.mean(dim=dims, keepdim=True))


@pytest.mark.parametrize(
    ("norm", "dims"),
    [
        (nn.LayerNorm([3, 4, 4]), (1, 2, 3)),
        (nn.LayerNorm(4, elementwise_affine=False), (3,)),
        (nn.GroupNorm(1, 3), (1, 2, 3)),
        (nn.InstanceNorm2d(3), (2, 3)),
    ],
)
def test_statistics_of_normalisations_are_constants(norm: nn.Module, dims: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    norm = norm.double()
    if getattr(norm, "weight", None) is not None:
        nn.init.uniform_(norm.weight, 0.5, 2)  # type: ignore[arg-type]
    for parameter in norm.parameters():
        parameter.requires_grad = False
    x, of = random(2, 3, 4, 4), random(2, 3, 4, 4)
    torch.testing.assert_close(relevance(norm, x, of), centred(x, of, dims))


def test_rms_norm_passes_relevance_on() -> None:
    x, of = random(2, 3, 4), random(2, 3, 4)
    weight = torch.rand(4, dtype=torch.double) + 0.5
    torch.testing.assert_close(relevance(lambda x: F.rms_norm(x, [4], weight), x, of), of)
    torch.testing.assert_close(relevance(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)), x, of), of)


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


def test_an_operator_without_a_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"LRP has no rule for torch\.\S*digamma"):
        relevance(torch.digamma, random(1, 3).abs() + 1, random(1, 3))
