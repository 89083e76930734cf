"""Products of activations and weights by their matrix, and of two activations by which of them is a gate, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.naive_excitation import Function, all_maps, assert_like_naive, quotient
from vitrine.attribution import excitation_maps

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
