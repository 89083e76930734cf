"""Parameter randomisation as a metric: the report's similarity of one image, and copies whose maps say nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.vitrine.metrics.test_row_means import IMAGES, explanation_of
from vitrine.attribution import Saliency
from vitrine.attribution.sanity import randomized, sanity_check
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import ParameterRandomization
from vitrine.metrics.base import Explain


def explaining(model: nn.Module) -> Explain:
    def explain(images: Tensor, targets: Tensor) -> Explanation:
        return explanation_of(Saliency(model).attribute(images, targets).abs().sum(dim=1), targets)

    return explain


def test_an_image_has_the_similarity_of_the_report_on_it_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    targets = torch.tensor([0, 1, 2])
    copies = [explaining(copy) for _, copy in randomized(model, IMAGES[:1], seed=2, stages=3)]
    metric = ParameterRandomization(copies)
    metric.update(explaining(model)(IMAGES[:3], targets), Batch(image=IMAGES[:3]))

    class Absolute(Saliency):
        def attribute(self, inputs: Any, target: Any = None, channel: Any = None, **captum: Any) -> Any:
            return super().attribute(inputs, target, channel, **captum).abs()

    report = sanity_check(Absolute, model, IMAGES[:3], targets, stages=3, seed=2)
    for row, found in enumerate(metric.row_values["parameter_randomization"].tolist()):
        assert found == pytest.approx(report[row : row + 1].similarity)


def test_a_constant_map_of_the_last_copy_is_left_out_and_one_of_another_is_not_counted() -> None:
    targets = torch.tensor([0, 1])
    maps, flat = IMAGES[:2, 0], IMAGES[:2, 0].clone()
    flat[0] = 1

    def same(_: Tensor, targets: Tensor) -> Explanation:
        return explanation_of(maps, targets)

    def constant(_: Tensor, targets: Tensor) -> Explanation:
        return explanation_of(flat, targets)

    for copies, expected in (([same, constant], [True, False]), ([constant, same], [False, False])):
        metric = ParameterRandomization(copies)
        metric.update(explanation_of(maps, targets), Batch(image=IMAGES[:2]))
        assert metric.row_values["parameter_randomization"].isnan().tolist() == expected
        assert float(metric.compute()["parameter_randomization"]) == pytest.approx(1)
