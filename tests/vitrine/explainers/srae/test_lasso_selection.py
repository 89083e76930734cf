"""Lassos from sums: scikit-learn's weighted Lasso on all images at once, whatever the batches."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor

from vitrine.explainers.srae.lasso_selection import LassoSelection, drawn_dimensions, strongest

IMAGES, WIDTH, CLASSES = 80, 12, 3


def samples(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Non-negative Z far from centred, logits of three classes with an offset, and which images are of which."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(IMAGES, WIDTH, generator=generator) + 1
    features[:, 3] += torch.randn(IMAGES, generator=generator).relu()
    weights = torch.randn(WIDTH, CLASSES, generator=generator)
    logits = features @ weights + 7 + 0.2 * torch.randn(IMAGES, CLASSES, generator=generator)
    return features, logits, torch.rand(IMAGES, CLASSES, generator=generator) < 0.2


def fitted(
    sizes: list[int], alpha: float, weight: float | None, data: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    selection = LassoSelection(CLASSES, WIDTH)
    for parts in zip(*(value.split(sizes) for value in data), strict=True):
        selection.update(*parts)
    return selection.finish(alpha, weight)


def objective(w: Tensor, b: Tensor, z: Tensor, y: Tensor, p: Tensor, alpha: float) -> float:
    p = p / p.sum()
    return float((p * (z.double() @ w.double() + b.double() - y.double()).square()).sum() / 2 + alpha * w.abs().sum())


@pytest.mark.parametrize("weight", [None, 1.0, 6.0, 0.0], ids=["balanced", "alike", "6", "0"])
@pytest.mark.parametrize("alpha", [0.02, 0.1])
def test_each_class_has_scikit_learns_weighted_lasso(weight: float | None, alpha: float) -> None:
    data = features, logits, positive = samples()
    w, b, _ = fitted([IMAGES], alpha, weight, data)
    for j in range(CLASSES):
        own = int(positive[:, j].sum())
        factor = (IMAGES - own) / own if weight is None else weight
        p = torch.where(positive[:, j], factor, 1.0).double()
        outside = Lasso(alpha=alpha, tol=1e-10, max_iter=1_000_000)
        outside.fit(features.double().numpy(), logits[:, j].double().numpy(), sample_weight=p.numpy())
        theirs = torch.from_numpy(outside.coef_), torch.tensor(outside.intercept_)
        ours = objective(w[j], b[j], features, logits[:, j], p, alpha)
        assert ours == pytest.approx(objective(*theirs, features, logits[:, j], p, alpha), rel=1e-4)
        torch.testing.assert_close(w[j].double(), theirs[0], atol=0.02, rtol=0.02)


def test_batches_of_any_size_change_nothing() -> None:
    data = samples()
    whole = fitted([IMAGES], 0.05, None, data)
    for sizes in ([1] * IMAGES, [33, 40, 7]):
        for found, expected in zip(fitted(sizes, 0.05, None, data), whole, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_intercept_takes_up_a_shift() -> None:
    features, logits, positive = samples()
    w, b, _ = fitted([IMAGES], 0.05, 3.0, (features, logits, positive))
    shifted = fitted([IMAGES], 0.05, 3.0, (features + 2, logits + 5, positive))
    torch.testing.assert_close(shifted[0], w, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(shifted[1], b + 5 - 2 * w.sum(dim=1), atol=2e-3, rtol=1e-3)


def test_contributions_are_means_over_the_classs_own_images() -> None:
    data = features, _, positive = samples()
    w, _, contributions = fitted([17, 63], 0.05, None, data)
    for j in range(CLASSES):
        torch.testing.assert_close(contributions[j], (w[j] * features[positive[:, j]]).mean(dim=0))


def test_a_class_without_images_is_still_estimated() -> None:
    features, logits, positive = samples()
    positive[:, 1] = False
    w, b, contributions = fitted([IMAGES], 0.05, None, (features, logits, positive))
    outside = Lasso(alpha=0.05, tol=1e-10, max_iter=1_000_000).fit(features.numpy(), logits[:, 1].numpy())
    torch.testing.assert_close(w[1], torch.from_numpy(outside.coef_).float(), atol=0.02, rtol=0.02)
    assert torch.isfinite(b).all()
    assert not contributions[1].any()


def test_the_strongest_are_positive() -> None:
    contributions = torch.tensor([[0.1, -5.0, 3.0, 0.0], [-1.0, -2.0, 0.0, 0.5]])
    assert strongest(contributions, 3).tolist() == [[2, 0, -1], [3, -1, -1]]
    assert strongest(contributions, 9).shape == (2, 4)


def test_drawn_dimensions_differ_and_are_the_seeds() -> None:
    drawn = drawn_dimensions(4, 30, 5, seed=3)
    assert drawn.shape == (4, 5)
    assert all(len(set(row)) == 5 for row in drawn.tolist())
    assert len(np.unique(drawn.numpy(), axis=0)) == 4
    assert torch.equal(drawn, drawn_dimensions(4, 30, 5, seed=3))
    assert not torch.equal(drawn, drawn_dimensions(4, 30, 5, seed=4))
