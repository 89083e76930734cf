"""A class's own images weigh as much as all others together, or as the option says; what was not sampled weighs nothing."""

from typing import Any, cast

import torch

from lightning_modules.class_weights import class_weight, image_weights
from lightning_modules.grouped_fit import Samples


class Data:
    """Ten images of three classes."""

    class_counts = (2, 0, 8)
    train_count = 10

    def __init__(self, counts: Any = None) -> None:
        self.counts = counts

    def sample_counts(self) -> Any:
        return self.counts


def weight(option: Any, index: int, counts: Any = None, **options: bool) -> float:
    return class_weight(option, cast("Any", Data(counts)), 0, index, **options)


def test_balanced_classes_weigh_as_much_as_all_others() -> None:
    assert weight("balanced", 0) == 4
    assert weight("balanced", 1) == 1  # of a class without an image
    assert weight("balanced", 2) == 0.25
    assert weight(3, 0) == 3
    assert class_weight("balanced", None, 0, 0) == 1


def test_samples_are_counted_where_heads_are_fitted_on_them() -> None:
    counts = torch.tensor([[1, 6]])
    assert weight("balanced", 0, counts) == 6
    assert weight("balanced", 0, counts, sampled=False) == 4


def test_images_weigh_as_their_class_does_and_nothing_where_they_are_not_sampled() -> None:
    positive = torch.tensor([[True, False], [False, True]])
    features = torch.zeros(2, 3)
    samples = Samples(features, features, positive, None, features)
    assert image_weights(samples, [4.0, 5.0]).tolist() == [[4, 1], [1, 5]]
    sampled = samples._replace(sampled=torch.tensor([[True, True], [False, True]]))
    assert image_weights(sampled, [4.0, 5.0]).tolist() == [[4, 1], [0, 5]]
