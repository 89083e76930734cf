"""Where the mass of a product of two activations goes: to the features and not to the gate, or a half to each."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.naive_excitation import all_maps
from vitrine.attribution import excitation_maps
from vitrine.attribution.excitation.gate_choice import is_broadcast

pytestmark = pytest.mark.usefixtures("doubles")


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
