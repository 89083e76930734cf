"""Heads side by side give what each gives alone, on the same parameters, which stay where they are."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.explainers.srae.heads import SeparateHeads, SRAEHead
from vitrine.explainers.srae.stacked import MOST_WEIGHTS, StackedHeads, side_by_side, stacks


def made(*, positions: int = 1, decoder: bool = True, hidden: tuple[int, ...] = (6, 5)) -> list[SRAEHead]:
    torch.manual_seed(0)
    heads = list(SeparateHeads(4, 7, 3, hidden, positions=positions, decoder=decoder).double())
    heads[1].alive[2] = False
    return heads


def gradients(heads: list[SRAEHead]) -> list[Tensor]:
    found = [parameter.grad for head in heads for parameter in head.parameters()]
    return [torch.zeros(()) if gradient is None else gradient.clone() for gradient in found]


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("decoder", [True, False])
@pytest.mark.parametrize("hidden", [(6, 5), ()])
def test_stacked_heads_equal_each_alone(positions: int, decoder: bool, hidden: tuple[int, ...]) -> None:
    heads = made(positions=positions, decoder=decoder, hidden=hidden)
    features = torch.rand(5, 7 * positions, dtype=torch.float64)
    outputs = [head(features) for head in heads]
    found = StackedHeads(heads)(features)
    torch.testing.assert_close(found.embeddings, torch.stack([one.embedding for one in outputs], dim=1))
    torch.testing.assert_close(found.estimates, torch.stack([one.estimate for one in outputs], dim=1))
    torch.testing.assert_close(found.local, torch.stack([one.local for one in outputs], dim=1))
    assert (found.decoded is None) == (not decoder)

    def loss(local: Tensor, estimates: Tensor, decoded: Tensor | None) -> Tensor:
        return local.square().sum() + estimates.exp().sum() + (0 if decoded is None else decoded.square().sum())

    torch.autograd.backward(
        loss(
            torch.stack([one.local for one in outputs]),
            torch.stack([one.estimate for one in outputs]),
            torch.stack([one.decoded for one in outputs]) if decoder else None,
        )
    )
    expected = gradients(heads)
    for head in heads:
        head.zero_grad()
    torch.autograd.backward(loss(found.local, found.estimates, found.decoded))
    for one, other in zip(gradients(heads), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_parameters_lie_side_by_side_and_are_the_same_ones() -> None:
    parameters = [nn.Parameter(torch.rand(2, 3)) for _ in range(3)]
    values = [parameter.detach().clone() for parameter in parameters]
    stacked = side_by_side(parameters)
    assert torch.equal(stacked, torch.stack(values))
    assert {one.untyped_storage().data_ptr() for one in parameters} == {stacked.untyped_storage().data_ptr()}
    with torch.no_grad():
        parameters[1].fill_(7.0)
    assert bool((side_by_side(parameters)[1] == 7).all())


def test_parameters_that_moved_are_laid_side_by_side_again() -> None:
    heads = made()
    stacked, features = StackedHeads(heads), torch.rand(5, 7, dtype=torch.float64)
    before = stacked(features).estimates
    for head in heads:
        head.float()
    torch.testing.assert_close(stacked(features.float()).estimates, before.float())
    heads[2].predictor.weight.data = torch.zeros(1, 3)
    assert bool((stacked(features.float()).estimates[:, 2] == 0).all())


def test_small_heads_are_stacked_and_large_ones_fill_a_cpu_alone() -> None:
    assert stacks(made())
    assert not stacks(made()[:1])
    large = list(SeparateHeads(2, MOST_WEIGHTS // 8, 2, (8,)))
    assert not stacks(large)
    assert stacks([head.to("meta") for head in large])


def test_neighbours_with_memory_of_their_own_are_no_block() -> None:
    memory = bytearray(2 * 6 * 4)
    parameters = [
        nn.Parameter(torch.frombuffer(memory, dtype=torch.float32, count=6, offset=24 * row).view(2, 3))
        for row in (0, 1)
    ]
    for row, one in enumerate(parameters):
        one.data.fill_(row)
    assert parameters[1].data_ptr() == parameters[0].data_ptr() + 24
    assert side_by_side(parameters)[:, 0, 0].tolist() == [0, 1]
