"""Objectives of x-feature heads: each term against its formula, written image by image and dimension by dimension."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrine.explainers.srae.heads import HeadOutput, OutputOfHeads, SRAEHead
from vitrine.explainers.srae.objectives import OBJECTIVES, Terms, head_terms, terms_of_heads

IMAGES, WIDTH, X_FEATURES = 7, 6, 3
WEIGHTS = torch.tensor([2.0, 1, 0, 1, 2, 0, 1], dtype=torch.float64)


class Case:
    """A head over P positions, its Z and the logits."""

    def __init__(self, positions: int = 1) -> None:
        torch.manual_seed(0)
        self.positions = positions
        self.head = SRAEHead(WIDTH, X_FEATURES, (5,), positions=positions).double()
        self.features = torch.rand(IMAGES, positions * WIDTH, dtype=torch.float64)
        self.logits = torch.randn(IMAGES, dtype=torch.float64)

    def terms(self, name: str, weights: Tensor = WEIGHTS, **options: Any) -> Terms:
        output = self.head(self.features)
        if not OBJECTIVES[name].has_decoder:
            output = output._replace(decoded=None)
        target = None if output.decoded is None else self.head.rows_of(self.features)
        return head_terms(OBJECTIVES[name], output, self.logits, target, weights, **options)


def naive_faithfulness(output: HeadOutput, logits: Tensor, weights: Tensor) -> float:
    errors = [float(w * (e - y) ** 2) for w, e, y in zip(weights, output.estimate.detach(), logits, strict=True)]
    return sum(errors) / float(weights.sum())


def naive_errors(case: Case, output: HeadOutput, weights: Tensor) -> list[float]:
    """Q_k; with positions over all rows, each with its image's weight."""
    assert output.decoded is not None
    rows = case.features.reshape(-1, WIDTH)
    of_rows = [float(w) for w in weights for _ in range(case.positions)]
    return [
        sum(w * float(output.decoded[i, k].detach() - rows[i, k]) ** 2 for i, w in enumerate(of_rows)) / sum(of_rows)
        for k in range(WIDTH)
    ]


def mean_squared_cosine(vectors: list[Tensor]) -> float:
    n = len(vectors)
    total = 0.0
    for i in range(n):
        for j in range(n):
            norms = float(vectors[i].norm() * vectors[j].norm())
            total += (float(vectors[i] @ vectors[j]) / norms) ** 2 if i != j and norms > 0 else 0.0
    return total / (n * (n - 1))


@pytest.mark.parametrize("positions", [1, 4])
@pytest.mark.parametrize("over", ["images", "features"])
def test_srae_is_equation_5(positions: int, over: str) -> None:
    case = Case(positions)
    output = case.head(case.features)
    terms = case.terms("srae", q=3.0, pull_away_over=over)
    errors = naive_errors(case, output, WEIGHTS)
    rows = [row for row, w in zip(output.local.detach(), WEIGHTS.repeat_interleave(positions), strict=True) if w > 0]
    vectors = rows if over == "features" else list(torch.stack(rows).T)
    assert float(terms.faithfulness.detach()) == pytest.approx(
        naive_faithfulness(output, case.logits, WEIGHTS), rel=1e-5
    )
    assert float(terms.reconstruction.detach()) == pytest.approx(
        sum(math.log(1 + 3 * e) for e in errors) / WIDTH, rel=1e-5
    )
    assert float(terms.pull_away.detach()) == pytest.approx(mean_squared_cosine(vectors), rel=1e-5)
    total = terms.faithfulness + 5 * terms.reconstruction + 0.5 * terms.pull_away
    torch.testing.assert_close(terms.total(5, 0.5), total)


@pytest.mark.parametrize("positions", [1, 4])
def test_what_it_is_compared_with_leaves_terms_out(positions: int) -> None:
    case = Case(positions)
    output = case.head(case.features)
    faithful = pytest.approx(naive_faithfulness(output, case.logits, WEIGHTS), rel=1e-5)
    plain = pytest.approx(sum(naive_errors(case, output, WEIGHTS)) / WIDTH, rel=1e-5)
    assert [float(term) for term in case.terms("nn")] == [faithful, 0, 0]
    assert [float(term) for term in case.terms("sae")] == [faithful, plain, 0]
    assert [float(term) for term in case.terms("cae")] == [0, plain, 0]
    assert [name for name, objective in OBJECTIVES.items() if not objective.has_decoder] == ["nn"]


@pytest.mark.parametrize("over", ["images", "features"])
@pytest.mark.parametrize("positions", [1, 4])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_images_of_weight_0_might_as_well_not_be_there(name: str, positions: int, over: str) -> None:
    case, wanted = Case(positions), WEIGHTS > 0
    found = case.terms(name, pull_away_over=over)
    gradient = torch.autograd.grad(found.total(2, 3), list(case.head.encoder.parameters()))
    case.features[~wanted] = 99.0  # whatever stands there
    case.logits[~wanted] = -99.0
    changed = case.terms(name, pull_away_over=over)
    case.features, case.logits = case.features[wanted], case.logits[wanted]
    alone = case.terms(name, WEIGHTS[wanted], pull_away_over=over)
    for other in (changed, alone):
        torch.testing.assert_close(torch.stack(other), torch.stack(found))
        gradients = torch.autograd.grad(other.total(2, 3), list(case.head.encoder.parameters()))
        torch.testing.assert_close(gradients, gradient, atol=1e-6, rtol=1e-4)


def test_the_sparse_reconstruction_becomes_the_plain_one() -> None:
    case = Case()
    plain = float(case.terms("sae").reconstruction)
    shares = [float(case.terms("srae", q=q).reconstruction) / q / plain for q in (10.0, 1.0, 1e-1, 1e-3)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=1e-2)
    assert shares[0] < 0.7


def test_sums_of_heads() -> None:
    terms = Terms(*(torch.tensor([1.0, 2.0]) * factor for factor in (1, 10, 100)))
    assert [float(term) for term in terms.summed()] == [3, 30, 300]


@pytest.mark.parametrize("name", ["srae", "nn", "cae"])
@pytest.mark.parametrize("over", ["images", "features"])
@pytest.mark.parametrize("positions", [1, 3])
def test_many_heads_at_once_equal_one_after_the_other(name: str, over: str, positions: int) -> None:
    generator = torch.Generator().manual_seed(4)
    heads = 4
    local = torch.rand(IMAGES * positions, heads, X_FEATURES, generator=generator, dtype=torch.float64)
    local[:, 1, 0] = 0  # an x-feature that never fires
    estimates, logits = (torch.randn(IMAGES, heads, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.randint(0, 3, (IMAGES, heads), generator=generator).double()
    weights[:, 2] = 0  # a head without a sample in this batch
    decoded, target = (
        torch.randn(*size, IMAGES * positions, 5, generator=generator, dtype=torch.float64) for size in ((heads,), ())
    )
    output = OutputOfHeads(local, decoded if name != "nn" else None, estimates, local)
    together = terms_of_heads(OBJECTIVES[name], output, logits, target, weights, pull_away_over=over)
    alone = [
        head_terms(
            OBJECTIVES[name],
            HeadOutput(local[:, row], decoded[row] if name != "nn" else None, estimates[:, row], local[:, row]),
            logits[:, row],
            target,
            weights[:, row],
            pull_away_over=over,
        )
        for row in range(heads)
    ]
    for one, many in zip(zip(*alone, strict=True), together, strict=True):
        torch.testing.assert_close(many, torch.stack(one).to(many))
