"""Linear predictors in one pass: weighted least squares of each head, and mean contributions."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads
from vitrine.explainers.srae.predictor_fit import PredictorSamples, fit_predictors

CLASSES, WIDTH, COUNT = 2, 6, 3


def make_heads(kind: type[SeparateHeads] | type[SharedHeads]) -> SeparateHeads | SharedHeads:
    torch.manual_seed(0)
    return kind(CLASSES, WIDTH, COUNT, (5,))


def samples(count: int = 40) -> PredictorSamples:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(count, CLASSES, generator=generator)
    return PredictorSamples(
        features=torch.rand(count, WIDTH, generator=generator),
        logits=logits,
        positive=logits > 0.5,
        weights=torch.rand(count, CLASSES, generator=generator),
    )


def batches(whole: PredictorSamples, *sizes: int) -> list[PredictorSamples]:
    return [PredictorSamples(*parts) for parts in zip(*(part.split(list(sizes)) for part in whole), strict=True)]


def fitted(rank: int, *sizes: int) -> tuple[Tensor, Tensor]:
    """Predictors and contributions from this rank's batches."""
    heads = make_heads(SeparateHeads)
    own = batches(samples(), *sizes)
    contributions = fit_predictors(heads, own[rank :: len(sizes)])
    return heads.predictors().detach(), contributions


@pytest.mark.parametrize("kind", [SeparateHeads, SharedHeads])
def test_predictors_are_weighted_least_squares(kind: type[SeparateHeads] | type[SharedHeads]) -> None:
    heads, whole = make_heads(kind), samples()
    contributions = fit_predictors(heads, batches(whole, 15, 20, 5))
    for row in range(CLASSES):
        embedding = heads.embed(whole.features, torch.full((40,), row)).double().detach()
        root = whole.weights[:, row].double().sqrt()
        system = (embedding * root[:, None]).numpy(), (whole.logits[:, row].double() * root).numpy()
        expected = np.linalg.lstsq(*system, rcond=1e-5)[0]
        predictor = heads.predictors()[row].detach()
        torch.testing.assert_close(predictor.double(), torch.from_numpy(expected), rtol=1e-3, atol=1e-4)
        mean = embedding[whole.positive[:, row]].mean(dim=0).float()
        torch.testing.assert_close(contributions[row], predictor * mean, rtol=1e-4, atol=1e-5)


def test_a_class_without_images_has_no_mean_contribution() -> None:
    whole = samples()
    none = whole._replace(positive=torch.zeros_like(whole.positive).index_fill(1, torch.tensor([0]), value=True))
    contributions = fit_predictors(make_heads(SeparateHeads), [none])
    assert contributions[0].isfinite().all()
    assert contributions[1].isnan().all()


def test_x_features_that_are_the_same_share_the_weight() -> None:
    heads: Any = make_heads(SeparateHeads)
    last = heads[0].encoder[-2]
    with torch.no_grad():
        last.weight[1] = last.weight[0]
        last.bias[1] = last.bias[0]
    fit_predictors(heads, [samples()])
    first, second, _ = heads.predictors()[0].tolist()
    assert first == pytest.approx(second, rel=1e-3)


def test_two_ranks_with_uneven_shares_equal_one(ranks: RankPool) -> None:
    alone = fitted(0, 40)
    for together in ranks.run(fitted, 30, 10):
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
