"""Batches of several labels an image, made batches of a row a label."""

import torch

from vitrine.core.batch import Batch, repeat_per_class


def test_each_image_comes_once_for_each_of_its_classes() -> None:
    batch = Batch(
        key=["a", "b", "c"],
        image=torch.arange(3.0)[:, None, None, None].expand(3, 3, 2, 2),
        label=torch.tensor([[0.0, 1, 1], [0, 0, 0], [1, 0, 0]]),
        boxes=[torch.zeros(1, 4), torch.zeros(0, 4), torch.zeros(2, 4)],
    )
    repeated, classes = repeat_per_class(batch)
    assert classes.tolist() == [1, 2, 0]
    assert repeated["key"] == ["a", "a", "c"]
    assert repeated["image"][:, 0, 0, 0].tolist() == [0, 0, 2]
    assert repeated["label"].tolist() == batch["label"][[0, 0, 2]].tolist()
    assert [len(boxes) for boxes in repeated["boxes"]] == [1, 1, 2]


def test_images_without_classes_leave_nothing() -> None:
    repeated, classes = repeat_per_class(Batch(key=["a"], label=torch.zeros(1, 3)))
    assert repeated["key"] == []
    assert classes.shape == (0,)
