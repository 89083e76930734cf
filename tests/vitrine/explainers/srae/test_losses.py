"""The SRAE terms against closed forms, naive loops, gradcheck and a split over two processes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed
from torch.nn import functional as F

from tests.helpers.ranks import RankPool
from vitrine.explainers.srae.losses import faithfulness, pull_away, sparse_reconstruction


def naive_pull_away(vectors: Tensor) -> float:
    """Equation 3, pair by pair."""
    n = len(vectors)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    return sum(float(F.cosine_similarity(vectors[i], vectors[j], dim=0)) ** 2 for i, j in pairs) / (n * (n - 1))


@given(st.integers(1, 7), st.integers(2, 6), st.integers(0, 1000))
@settings(max_examples=30)
def test_pull_away_is_the_double_loop(images: int, count: int, seed: int) -> None:
    embedding = torch.rand(images, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert float(pull_away(embedding)) == pytest.approx(naive_pull_away(embedding.T), abs=1e-12)


def test_pull_away_over_features_compares_images() -> None:
    embedding = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(pull_away(embedding, over="features")) == pytest.approx(naive_pull_away(embedding), abs=1e-12)


def test_pull_away_closed_forms() -> None:
    assert float(pull_away(torch.eye(5, 3))) == 0
    assert float(pull_away(torch.ones(5, 3))) == pytest.approx(1)
    assert float(pull_away(torch.rand(5, 1))) == 0
    # Columns at 45°: cos² = 1/2.
    assert float(pull_away(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))) == pytest.approx(0.5)


@pytest.mark.parametrize("over", ["images", "features"])
def test_a_zero_vector_has_cosine_and_gradient_zero(over: str) -> None:
    embedding = torch.tensor([[1.0, 0.0, 2.0], [2.0, 0.0, 1.0], [0.0, 0.0, 0.0]], requires_grad=True)
    value = pull_away(embedding, over=over)
    (gradient,) = torch.autograd.grad(value, embedding)
    vectors = embedding.detach().T if over == "images" else embedding.detach()
    assert float(value.detach()) == pytest.approx(naive_pull_away(vectors), abs=1e-6)
    assert gradient.isfinite().all()


def test_pull_away_refuses_an_unknown_axis() -> None:
    with pytest.raises(ValueError, match="'rows' is unknown"):
        pull_away(torch.ones(2, 2), over="rows")


def test_sparse_reconstruction_closed_form() -> None:
    target = torch.zeros(4, 3, dtype=torch.float64)
    decoded = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64).expand(4, 3)
    expected = (math.log(1 + 0) + math.log(1 + 10 * 1) + math.log(1 + 10 * 4)) / 3
    assert float(sparse_reconstruction(decoded, target, 10)) == pytest.approx(expected, rel=1e-12)


def test_sparse_reconstruction_of_several_heads_is_one_of_each() -> None:
    decoded, target = torch.rand(3, 8, 5), torch.rand(8, 5)
    expected = torch.stack([sparse_reconstruction(one, target, 2.0) for one in decoded])
    torch.testing.assert_close(sparse_reconstruction(decoded, target, 2.0), expected)
    weighted = sparse_reconstruction(decoded, target, 2.0, weights=torch.ones(8, 3))
    torch.testing.assert_close(weighted, expected)


def test_sparse_reconstruction_takes_the_mean_over_images_before_the_logarithm() -> None:
    decoded = torch.tensor([[0.0], [2.0]])
    assert float(sparse_reconstruction(decoded, torch.zeros(2, 1), 1.0)) == pytest.approx(math.log(3))


def test_sparse_reconstruction_tends_to_plain_reconstruction_for_small_q() -> None:
    generator = torch.Generator().manual_seed(0)
    decoded, target = (torch.rand(5, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    assert float(sparse_reconstruction(decoded, target, 1e-7)) / 1e-7 == pytest.approx(
        float(F.mse_loss(decoded, target)), rel=1e-6
    )


@pytest.mark.parametrize("q", [0.0, -1.0, math.nan])
def test_sparse_reconstruction_refuses_q_that_is_not_positive(q: float) -> None:
    with pytest.raises(ValueError, match="q > 0"):
        sparse_reconstruction(torch.ones(2, 2), torch.ones(2, 2), q)


def test_a_weight_of_two_equals_the_image_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    decoded, target = (torch.rand(3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    twice = [0, 0, 1, 2]
    weights = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    assert float(sparse_reconstruction(decoded, target, 3.0, weights=weights)) == pytest.approx(
        float(sparse_reconstruction(decoded[twice], target[twice], 3.0)), rel=1e-12
    )
    assert float(faithfulness(decoded[:, 0], target[:, 0], weights=weights)) == pytest.approx(
        float(F.mse_loss(decoded[twice, 0], target[twice, 0])), rel=1e-12
    )


@pytest.mark.parametrize("over", ["images", "features"])
def test_gradients(over: str) -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.rand(5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.rand(5, 3, dtype=torch.float64, generator=generator)
    weights = torch.rand(5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda e: pull_away(e, over=over), (embedding,))
    assert torch.autograd.gradcheck(lambda e: sparse_reconstruction(e, target, 10.0, weights=weights), (embedding,))


def objective(scale: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """All terms, as a function of one shared parameter."""
    embedding = (values * scale).relu()
    return (
        pull_away(embedding, across_ranks=True)
        + pull_away(embedding, over="features", across_ranks=True)
        + sparse_reconstruction(embedding, values, 5.0, weights=weights, across_ranks=True)
        + faithfulness(embedding[:, 0], values[:, 1], weights=weights, across_ranks=True)
    )


def shared_problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(8, 3, dtype=torch.float64, generator=generator)
    weights = torch.rand(8, dtype=torch.float64, generator=generator) + 0.1
    return torch.tensor([0.5, 1.5, 1.0], dtype=torch.float64, requires_grad=True), values, weights


def loss_on_rank(rank: int) -> tuple[Tensor, Tensor]:
    scale, values, weights = shared_problem()
    own = slice(0, 3) if rank == 0 else slice(3, 8)
    loss = objective(scale, values[own], weights[own])
    (gradient,) = torch.autograd.grad(loss, scale)
    distributed.all_reduce(gradient)
    return loss.detach(), gradient / 2  # DistributedDataParallel takes the mean


def test_two_ranks_with_uneven_shares_equal_one(ranks: RankPool) -> None:
    scale, values, weights = shared_problem()
    loss = objective(scale, values, weights)
    (gradient,) = torch.autograd.grad(loss, scale)
    for rank_loss, rank_gradient in ranks.run(loss_on_rank):
        torch.testing.assert_close(rank_loss, loss.detach())
        torch.testing.assert_close(rank_gradient, gradient)
