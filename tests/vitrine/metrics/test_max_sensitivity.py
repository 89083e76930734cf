"""Max-sensitivity as a metric: the same class is explained again, within the radius."""

import pytest
import torch
from torch import Tensor

from tests.vitrine.metrics.test_row_means import IMAGES, KEYS, MAPS, TARGETS, explanation_of
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.metrics import MaxSensitivity, MaxSensitivityOptions


def test_explains_the_same_classes_of_images_within_the_radius() -> None:
    seen: list[Tensor] = []

    def explain(images: Tensor, targets: Tensor) -> Explanation:
        assert targets.tolist() == TARGETS[2:4].tolist()
        seen.append(images - IMAGES[2:4])
        return explanation_of(MAPS[2:4], targets)

    metric = MaxSensitivity(explain, MaxSensitivityOptions(num_samples=7, radius=0.03, seed=1))
    metric.update(explanation_of(MAPS[2:4], TARGETS[2:4]), Batch(image=IMAGES[2:4], key=KEYS[2:4]))
    assert metric.compute()["max_sensitivity"] == 0  # a constant explainer
    changes = torch.stack(seen)
    assert len(changes) == 7
    assert float(changes.abs().max()) == pytest.approx(0.03, rel=0.05)
    assert float(changes.min()) < 0
    assert len({float(change) for change in changes[:, 0, 0, 0, 0]}) == 7


def test_a_perturbed_map_with_nan_is_left_out_and_counted() -> None:
    def explain(images: Tensor, targets: Tensor) -> Explanation:
        maps = MAPS[2:4].clone()
        maps[0, 1, 1] = torch.nan
        return explanation_of(maps, targets)

    metric = MaxSensitivity(explain)
    metric.update(explanation_of(MAPS[2:4], TARGETS[2:4]), Batch(image=IMAGES[2:4]))
    assert metric.row_values["max_sensitivity"].isnan().tolist() == [True, False]
    assert metric.compute()["max_sensitivity/degenerate"] == 1
