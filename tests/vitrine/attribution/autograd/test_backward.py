"""Vector-Jacobian products: several over one graph, at edges within it, and the trace of a forward pass."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from vitrine.attribution.autograd.backward import forward_trace, noise, one_hot, vjp_at, vjps


def test_products_are_rows_of_the_jacobian() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    leaf = torch.ones(1, 3, requires_grad=True)
    output = leaf @ matrix.T
    found = list(vjps(output, leaf, torch.eye(2)[:, None]))
    assert torch.stack(found).tolist() == matrix[:, None].tolist()
    with pytest.raises(RuntimeError, match="graph"):  # the last pass has freed it
        torch.autograd.grad(output.sum(), leaf)


def test_a_graph_that_is_kept_serves_others() -> None:
    leaf = torch.rand(2, 3, requires_grad=True)
    output = (leaf @ torch.rand(3, 5)).relu() ** 2
    kept, freed = (torch.stack(list(vjps(output, leaf, torch.ones(4, 2, 5), keep=keep))) for keep in (True, False))
    assert torch.equal(kept, freed)


def test_without_cotangents_or_dependence() -> None:
    leaf = torch.ones(1, 3, requires_grad=True)
    other = torch.ones(1, 2, requires_grad=True) * 2
    assert list(vjps(leaf * 2, leaf, [])) == []
    with pytest.raises(ValueError, match="No gradient leads from the output back"):
        list(vjps(other, leaf, [torch.ones(1, 2)]))
    (zeros,) = vjps(leaf * 0, leaf, [torch.ones(1, 3)])
    assert zeros.tolist() == [[0, 0, 0]]


def test_at_an_edge_of_the_graph() -> None:
    leaf = torch.ones(2, requires_grad=True)
    middle = leaf * 3
    edge = get_gradient_edge(middle)
    output = middle * torch.tensor([5.0, 7.0])
    for _ in range(2):  # the graph stays
        product = vjp_at(output, edge, torch.ones(2))
        assert product is not None
        assert product.tolist() == [5, 7]
    assert vjp_at(torch.ones(2, requires_grad=True) * 1, edge, torch.ones(2)) is None


@pytest.mark.parametrize("places", [(), (2,), (2, 3)])
def test_one_hot_over_all_places(places: tuple[int, ...]) -> None:
    encoded = one_hot(torch.zeros(2, 3, *places), torch.tensor([2, 0]))
    assert encoded.shape == (2, 3, *places)
    assert encoded.flatten(2).amin(dim=2).tolist() == [[0, 0, 1], [1, 0, 0]] if places else True
    assert encoded.sum() == 2 * torch.zeros(places).numel()


class Reused(nn.Module):
    """One layer is called twice, in place of the second; one gives no tensor of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.aside = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        self.aside(torch.ones(1, 2))
        return self.relu(self.conv(self.relu(self.conv(images)))).mean(dim=(2, 3))


def test_a_trace_has_the_calls_in_order_and_their_places_in_the_graph() -> None:
    trace = forward_trace(Reused().eval(), torch.zeros(5, 3, 4, 6))
    assert trace.size == (3, 4, 6)
    visits = [visit for visit in trace.visits if visit.layer != "aside"]
    assert [visit.layer for visit in visits] == ["conv", "relu", "conv", "relu"]
    assert all(visit.shape == (1, 3, 4, 6) for visit in visits)
    assert [visit.layer for visit in trace.last_of_each() if visit.layer != "aside"] == ["conv", "relu"]
    product = vjp_at(trace.logits, visits[-1].edge, torch.eye(3)[:1])
    assert product is not None
    torch.testing.assert_close(product[0, 0], torch.full((4, 6), 1 / 24))


def test_a_model_without_gradients_is_refused() -> None:
    class Counting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().mean(dim=(2, 3))

    with pytest.raises(ValueError, match="No gradient leads from the logits of Counting"):
        forward_trace(Counting(), torch.zeros(1, 3, 4, 4))


def test_noise_is_always_the_same() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(noise((2, 3), like), noise((2, 3), like))
    assert noise((2,), like).dtype == torch.float64
