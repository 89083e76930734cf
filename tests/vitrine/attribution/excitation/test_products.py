"""Products of activations and weights by their matrix, and of two activations by which of them is a gate, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.naive_excitation import Function, all_maps, assert_like_naive, quotient
from vitrine.attribution import excitation_maps
from vitrine.attribution.excitation.products import is_broadcast

pytestmark = pytest.mark.usefixtures("doubles")

SQUARE = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4).sin() + torch.eye(4, dtype=torch.float64) / 3
STACK = torch.stack([SQUARE, -SQUARE.mT])
FORM = torch.linspace(-2, 3, 3 * 4 * 4, dtype=torch.float64).view(3, 4, 4).cos()

WEIGHTED: dict[str, Function] = {
    "x @ W": lambda x: x @ SQUARE,
    "W @ x": lambda x: SQUARE @ x,
    "torch.matmul": lambda x: torch.matmul(x, SQUARE),
    "matmul by keywords": lambda x: torch.matmul(other=SQUARE, input=x) if x.requires_grad else torch.matmul(x, SQUARE),
    "bmm": lambda x: torch.bmm(x[0], STACK),
    "mm": lambda x: torch.mm(SQUARE, x[0, 1]),
    "mv": lambda x: torch.mv(SQUARE, x[0, 1, 2]),
    "dot": lambda x: torch.dot(SQUARE[0], x[0, 1, 2]),
    "inner": lambda x: torch.inner(x, SQUARE),
    "outer": lambda x: torch.outer(x[0, 0, 1], SQUARE[2]),
    "tensordot": lambda x: torch.tensordot(x, STACK, dims=([1, 3], [0, 2])),
    "einsum": lambda x: torch.einsum("bchw,cwv->bhv", x, STACK),
    "einsum of the second": lambda x: torch.einsum("cwv,bchw->bhv", STACK, x),
    "einsum in a list": lambda x: torch.einsum("bchw,wv->bchv", [x, SQUARE]),
    "addmm": lambda x: torch.addmm(torch.ones(4), x[0, 0], SQUARE, alpha=2),
    "addmv": lambda x: torch.addmv(torch.ones(4), SQUARE, x[0, 1, 2]),
    "baddbmm": lambda x: torch.baddbmm(torch.ones(4, 4), x[0], STACK, beta=0.5),
    "addbmm": lambda x: torch.addbmm(torch.ones(4, 4), x[0], STACK),
    "bilinear with a constant": lambda x: F.bilinear(x, torch.ones(4).expand_as(x) - 2, FORM, torch.ones(3)),
    "bilinear of the second": lambda x: F.bilinear(torch.ones(4).expand_as(x) - 2, x, FORM),
}


@pytest.mark.parametrize("treatment", ["clamp", "raw", "zplus"])
@pytest.mark.parametrize("name", WEIGHTED)
def test_a_product_with_a_weight_is_a_linear_layer(name: str, treatment: str) -> None:
    assert_like_naive(lambda x: WEIGHTED[name](x).reshape(1, -1), torch.randn(1, 2, 4, 4), treatment)


@pytest.mark.parametrize("equation", ["bchw->bc", "bchw->bwhc", "bcii->bc", "bchw->"])
def test_einsum_of_one_tensor_is_a_sum(equation: str) -> None:
    x = torch.rand(1, 2, 3, 3)
    assert_like_naive(lambda images: torch.einsum(equation, images @ torch.eye(3)).reshape(1, -1), x)


def test_einsum_of_three_tensors_is_two_products() -> None:
    x, attention = torch.randn(1, 1, 4, 4), torch.rand(4, 4)
    maps = [
        all_maps(function, x)
        for function in (
            lambda images: torch.einsum("bchw, wv, nh -> bcnv", images, SQUARE, attention),
            lambda images: attention @ (images @ SQUARE),
        )
    ]
    torch.testing.assert_close(*maps)


LAYERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": F.linear,
    "matmul": lambda x, w: x @ w.mT,
    "einsum": lambda x, w: torch.einsum("oi,bi->bo", w, x),
    "addmm": lambda x, w: torch.addmm(torch.zeros(len(w)), x, w.mT),
}


@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize("factor", [None, -2.0, torch.tensor([1.0, -1.0, 0.0])])
def test_contrast_and_constant_factors_treat_all_spellings_of_a_layer_alike(
    contrastive: bool, factor: float | Tensor | None
) -> None:
    hidden, head, x = torch.randn(6, 8), torch.randn(3, 6), torch.rand(1, 2, 2, 2)

    def maps(layer: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        def forward(images: Tensor) -> Tensor:
            logits = layer(layer(images.flatten(1), hidden).relu(), head)
            return logits if factor is None else logits * factor

        return excitation_maps(forward, x, torch.tensor([[0, 1, 2]]), contrastive=contrastive)[0]

    expected = maps(LAYERS["linear"])
    assert expected.abs().sum() > 0.1
    for name in ("matmul", "einsum", "addmm"):
        torch.testing.assert_close(maps(LAYERS[name]), expected)


def branches(images: Tensor) -> tuple[Tensor, Tensor]:
    """2a and 3b of pixels a and b of a (1, 1, 4, 2) image, (1, 4) each."""
    return F.linear(images[:, 0, :, 0], 2 * torch.eye(4)), F.linear(images[:, 0, :, 1], 3 * torch.eye(4))


def derived(a: Tensor, _b: Tensor) -> Tensor:
    return a.relu() * F.linear(a.relu(), torch.ones(4, 4))


def gated_by_lerp(a: Tensor, b: Tensor) -> Tensor:
    return torch.lerp(0 * a, a, b.sigmoid())


SHARES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], list[float]]] = {
    "sigmoid": (lambda a, b: a * b.sigmoid(), [1, 0]),
    "sigmoid first": (lambda a, b: a.sigmoid() * b, [0, 1]),
    "sigmoid, a factor and a view": (lambda a, b: a.relu() * (2 * b.sigmoid() + 1).view_as(a), [1, 0]),
    "hard sigmoid": (lambda a, b: F.hardsigmoid(a) * b.relu(), [0, 1]),
    "highway": (lambda a, b: a * (1 - b.sigmoid()), [1, 0]),
    "in place": (lambda a, b: a.mul_(b.sigmoid()), [1, 0]),
    "in place on the gate": (lambda a, b: a.sigmoid().mul_(b), [0, 1]),
    "softmax": (lambda a, b: a * b.softmax(1), [1, 0]),
    "GELU gate": (lambda a, b: F.gelu(a) * b, [0, 1]),
    "SwiGLU": (lambda a, b: F.silu(a) * b, [0, 1]),
    "GLU": (lambda a, b: F.glu(torch.cat([a, b], dim=1)), [1, 0]),
    "SiLU by hand": (lambda a, b: a * a.sigmoid() + 0 * b, [1, 0]),
    "GELU by hand": (lambda a, _: 0.5 * a * (1 + torch.erf(a / 2**0.5)), [1, 0]),
    "square": (lambda a, _: a * a, [1, 0]),
    "a gate computed from the features": (derived, [1, 0]),
    "a mean": (lambda a, b: a * b.mean(1, keepdim=True), [1, 0]),
    "an expanded mean": (lambda a, b: a * b.mean(1, keepdim=True).expand_as(a), [1, 0]),
    "two of a kind": (lambda a, b: a * b, [0.5, 0.5]),
    "two activated": (lambda a, b: a.relu() * b.relu(), [0.5, 0.5]),
    "two sigmoids": (lambda a, b: a.sigmoid() * b.sigmoid(), [0.5, 0.5]),
    "in place, two of a kind": (lambda a, b: a.mul_(b), [0.5, 0.5]),
    "outer": (lambda a, b: a[:, :, None] * b[:, None], [0.5, 0.5]),
    "matmul": (lambda a, b: a[..., None] @ b[:, None], [0.5, 0.5]),
    "einsum": (lambda a, b: torch.einsum("bi,bj->bij", a, b), [0.5, 0.5]),
    "linear attention": (lambda a, b: a.relu()[:, None] @ b[..., None], [0, 1]),
    "linear attention by ELU": (lambda a, b: (F.elu(a) + 1)[:, None] @ b[..., None], [0, 1]),
    "values by gates, read by a query": (lambda a, b: a[:, None] @ (b.softmax(1)[..., None] * b[:, None]), [0.5, 0.5]),
    "values mixed by gates, read by a query": (
        lambda a, b: a[:, None] @ (a.softmax(1)[..., None] @ b[:, None]),
        [0, 1],
    ),
    "a layer with a weight from the image": (lambda a, b: F.linear(a, b.relu().expand(3, -1)), [1, 0]),
    "a convolution with a kernel from the image": (lambda a, b: F.conv1d(a[:, None], b[:, None]), [1, 0]),
    "bilinear": (lambda a, b: F.bilinear(a, b, torch.rand(3, 4, 4)), [0.5, 0.5]),
    "divided": (lambda a, b: a / b, [1, 0]),
    "times a reciprocal": (lambda a, b: a * b.reciprocal(), [1, 0]),
    "times a root": (lambda a, b: a * torch.rsqrt(b), [1, 0]),
    "times a negative power": (lambda a, b: a * b**-0.5, [1, 0]),
    "times an exponential": (lambda a, b: a * (-b).exp(), [1, 0]),
    "addcmul": (lambda a, b: torch.addcmul(torch.ones(4), a, b), [0.5, 0.5]),
    "addcmul of a gate": (lambda a, b: torch.addcmul(torch.ones(4), a, b.sigmoid()), [1, 0]),
    "addcmul to the same": (lambda a, b: torch.addcmul(a, a, b.sigmoid()), [1, 0]),
    "addcdiv": (lambda a, b: torch.addcdiv(a, a, b), [1, 0]),
    "addmm to one": (lambda a, b: torch.addmm(0 * a, a, b.softmax(0).mT @ b), [0, 1]),
    "lerp by a gate": (gated_by_lerp, [1, 0]),
}


@pytest.mark.parametrize("name", SHARES)
def test_where_the_mass_of_a_product_goes(name: str) -> None:
    join, expected = SHARES[name]
    x = torch.rand(1, 1, 4, 2) + 0.5
    maps = all_maps(lambda images: join(*branches(images)), x)
    torch.testing.assert_close(maps.sum(1), torch.tensor(expected).double().expand(len(maps), -1))


def test_two_activations_share_by_their_positive_contributions() -> None:
    x = torch.randn(1, 1, 4, 4)
    rows, columns = torch.randn(4, 4), torch.randn(4, 4)
    maps = all_maps(lambda images: (images[:, 0] @ rows) @ (columns @ images[:, 0]), x)
    image = x[0, 0]
    a, b = image @ rows, columns @ image
    contributions = a.clamp(min=0)[:, :, None] * b.clamp(min=0)  # (i, j, k)
    mass = torch.eye(16).view(16, 4, 4)
    shares = contributions * quotient(mass, contributions.sum(1).expand_as(mass))[:, :, None] / 2
    up, positive = rows.clamp(min=0), image.clamp(min=0)
    expected = positive * (quotient(shares.sum(-1), (positive @ up).expand(16, -1, -1)) @ up.mT)
    up = columns.clamp(min=0)
    expected += positive * (up.mT @ quotient(shares.sum(1), (up @ positive).expand(16, -1, -1)))
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize(
    ("join", "shared"),
    [(lambda a, b: F.silu(a) * b, 0.5), (lambda a, b: a * b.sigmoid(), 1.0), (lambda a, b: a * b.softmax(1), 0.5)],
)
def test_shared_attention_shares_all_products_but_those_of_sigmoids(
    join: Callable[[Tensor, Tensor], Tensor], shared: float
) -> None:
    x = torch.rand(1, 1, 4, 2)
    maps, _ = excitation_maps(
        lambda images: join(*branches(images)), x, torch.arange(4)[None], contrastive=False, attention="shared"
    )
    torch.testing.assert_close(maps[0].sum(1), torch.tensor([shared, 1 - shared]).expand(4, -1))


def test_a_statistic_is_smaller_or_expanded() -> None:
    x, mean = torch.rand(2, 3, 4), torch.rand(2, 1, 4)
    assert is_broadcast(mean, x)
    assert is_broadcast(mean.expand_as(x), x)
    assert not is_broadcast(x, mean)
    assert not is_broadcast(torch.rand(2, 3, 1), mean)
