"""The fast gradient sign method on a linear network, where all is known, and the agreement of maps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.adversarial import AdversarialAgreement, Attacked, attack, gradient_signs, moved
from vitrine.metrics.functional.agreement import map_correlation, map_overlap

PREPROCESSING = Preprocessing(size=4, resize=None)
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (PREPROCESSING.mean, PREPROCESSING.std))


def linear() -> nn.Module:
    """The first logit is the sum of the colours less its value for mid-grey, the second minus that."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    weights = STD.expand(3, 4, 4).flatten()
    model[1].weight.data = torch.stack([weights, -weights])
    model[1].bias.data = (MEAN.expand(3, 4, 4).sum() - 24) * torch.tensor([1.0, -1.0])
    return model.requires_grad_(requires_grad=False)


def grey(*levels: float) -> Tensor:
    colours = torch.tensor(levels)[:, None, None, None].expand(-1, 3, 4, 4)
    return (colours - MEAN) / STD


def test_the_smallest_strength_that_changes_the_prediction_is_taken() -> None:
    images = grey(0.52, 0.6, 0.9, 0.47)
    labels = linear()(images).argmax(dim=1)
    assert labels.tolist() == [0, 0, 0, 1]
    signs = gradient_signs(linear(), images, labels)
    assert [float(signs[row].unique()) for row in range(4)] == [-1, -1, -1, 1]
    found = attack(linear(), images, labels, [0.01, 0.04, 0.2], PREPROCESSING, seed=1)
    torch.testing.assert_close(found.epsilon, torch.tensor([0.04, 0.2, 0.2, 0.04]))
    assert found.flipped.tolist() == [True, True, False, True]
    assert found.prediction.tolist() == [1, 1, 0, 0]
    colours = found.images * STD + MEAN
    torch.testing.assert_close(colours[:, 0, 0, 0], torch.tensor([0.48, 0.4, 0.7, 0.51]))
    change = (found.noise - images) * STD
    torch.testing.assert_close(change.abs().amax(dim=(1, 2, 3)), found.epsilon)
    assert abs(float(change[0].mean())) < 0.03
    torch.testing.assert_close(change[0].sign(), change[1].sign())


def test_colours_stay_in_range() -> None:
    found = moved(grey(0.9), torch.ones(1, 3, 4, 4), torch.tensor([0.3]), PREPROCESSING)
    torch.testing.assert_close(found, grey(1.0))


def test_agreement() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, after, noise, wrong = torch.rand(4, 3, 5, 5, generator=generator)
    clean[2] = 1.0
    flipped = torch.tensor([True, True, False, True])
    attacked = Attacked(
        torch.zeros(4, 3, 5, 5),
        torch.zeros(4, 3, 5, 5),
        torch.tensor([1, 2, 8, 4]) / 255,
        torch.zeros(4, dtype=torch.int64),
        flipped,
    )
    metric = AdversarialAgreement()
    metric.update(attacked, clean, after, noise, wrong)
    found = {name.removeprefix("attack/"): float(value) for name, value in metric.compute().items()}
    expected: dict[str, Any] = {
        "correlation": map_correlation(clean[:2], after[:2]).mean(), "overlap": map_overlap(clean[:2], after[:2]).mean(),
        "random_signs": map_correlation(clean[:2], noise[:2]).mean(), "wrong_class": map_correlation(after, wrong).mean(),
        "flipped": 0.75, "epsilon": 7 / 3, "degenerate": 1,
    }  # fmt: skip
    assert found == pytest.approx({name: float(value) for name, value in expected.items()})
