"""Labels of a data set as class indices of a network."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vitrine.data.class_labels import LabelTranslation, TranslatedBatch, TranslatedData
from vitrine.data.class_matching import ClassMatch
from vitrine.data.contracts import training_data

NAMES = ("ant", "bee", "cat", "dog")
TRANSLATION = LabelTranslation(ClassMatch((3, 1), NAMES, "mapped by class_map"), 4)
IGNORED = LabelTranslation(ClassMatch((), NAMES, "labels are left out", ignored=True), 4)


def batch_of(label: torch.Tensor, **entries: Any) -> dict[str, Any]:
    return {"key": ["a", "b", "c"], "label": label, **entries}


def test_indices_multi_hot_and_boxes() -> None:
    label = torch.tensor([0, 1, 0])
    boxes = [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.int64)]
    translated = TRANSLATION.batch(batch_of(label, box_labels=boxes))
    assert translated["label"].tolist() == [3, 1, 3]
    assert [labels.tolist() for labels in translated["box_labels"]] == [[1, 3], []]
    assert label.tolist() == [0, 1, 0], "the loader's own tensor is left alone"
    spread = TRANSLATION.batch(batch_of(torch.tensor([[1.0, 0], [1, 1], [0, 0]])))["label"]
    assert spread.tolist() == [[0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]


def test_a_batch_is_translated_once() -> None:
    once = TRANSLATION.batch(batch_of(torch.tensor([0, 1, 0])))
    assert isinstance(once, TranslatedBatch)
    assert TRANSLATION.batch(once) is once


@pytest.mark.parametrize("other", [{"image": 1}, [1, 2], torch.ones(2)])
def test_what_has_no_labels_stays_as_it_is(other: Any) -> None:
    assert TRANSLATION.batch(other) is other


def test_labels_that_are_left_out_are_those_of_a_set_without_classes() -> None:
    for label in (torch.tensor([0, 1, 0]), torch.eye(3)):
        translated = IGNORED.batch(batch_of(label, box_labels=[], boxes=[1]))
        assert translated["label"].shape == (3, 0)
        assert "box_labels" not in translated
        assert translated["boxes"] == [1]


def test_counts_and_labels_of_classes() -> None:
    assert TRANSLATION.counts([5, 7]) == [0, 7, 0, 5]
    assert TRANSLATION.own_labels([1, 3]) == [1, 0]
    assert TRANSLATION.own_labels([0, 3]) == [0]


def test_a_datamodule_in_the_networks_classes() -> None:
    batches = [batch_of(torch.tensor([1, 1, 0]))]
    data = SimpleNamespace(
        preprocessing="p", classes=["dog", "bee"], multi_label=False, annotations={"mask"}, panel=lambda _: batches[0],
        augment=False, class_counts=[5, 7], train_count=12, sample_counts=None, num_samples=len,
        every_image=lambda _: batches, every_sample=lambda _: iter(batches),
    )  # fmt: skip
    trainer = SimpleNamespace(datamodule=data, lightning_module=SimpleNamespace(label_translation=TRANSLATION))
    seen: Any = training_data(trainer)
    assert isinstance(seen, TranslatedData)
    assert (seen.classes, seen.class_counts, seen.multi_label) == (list(NAMES), [0, 7, 0, 5], False)
    assert (seen.train_count, seen.preprocessing, seen.annotations) == (12, "p", {"mask"})
    assert seen.panel(3)["label"].tolist() == [1, 1, 3]
    images = seen.every_image("train")
    assert [batch["label"].tolist() for _ in range(2) for batch in images] == [[1, 1, 3]] * 2
    assert [batch["label"].tolist() for batch in seen.every_sample("train")] == [[1, 1, 3]]
    trainer.lightning_module.label_translation = None
    assert training_data(trainer) is data


def test_a_datamodule_whose_labels_are_left_out_has_no_classes() -> None:
    seen = TranslatedData(SimpleNamespace(multi_label=False), IGNORED)
    assert seen.classes == []
    assert seen.multi_label
