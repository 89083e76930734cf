"""Metrics given annotations, images or numbers of another number, size or kind than their heatmaps, and empty batches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.alive_features import AliveFeatures
from vitrine.metrics.base import ExplanationMetric
from vitrine.metrics.box_occlusion import BoxOcclusion
from vitrine.metrics.energy import EnergyInBoxes, EnergyInMask
from vitrine.metrics.faithfulness import ClassificationFaithfulness, ClassReconstruction, RegressionFaithfulness
from vitrine.metrics.insertion_deletion import InsertionDeletion
from vitrine.metrics.iou_curve import IoUCurve
from vitrine.metrics.locality import Locality, ObjectLocality
from vitrine.metrics.localization import LocalizationError
from vitrine.metrics.masked_accuracy import MaskedAccuracy
from vitrine.metrics.mean_class_accuracy import MeanClassAccuracy
from vitrine.metrics.orthogonality import Orthogonality
from vitrine.metrics.pointing import PointingGame
from vitrine.metrics.saliency_detection import SaliencyDetection

MAPS = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
MASK, BOX = torch.ones(2, 1, 8, 8), torch.tensor([[1.0, 1.0, 5.0, 6.0]])
FLIPPED = BOX[:, [2, 1, 0, 3]]
PARTS, OBJECTS = torch.ones(2, 2, 3), torch.ones(2, 1, 8, 8, dtype=torch.int64)
IMAGES, LABELS = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])


def explanation_of(maps: Tensor, targets: list[int]) -> Explanation:
    classes = torch.tensor(targets, dtype=torch.int64)
    labels, scores = [["map"]] * len(maps), torch.ones(len(maps), 1)
    return Explanation(maps, scores, labels, classes, classes, torch.zeros(len(maps), 9))


def network(images: Tensor) -> Tensor:
    return images.flatten(2).mean(dim=2)


def masked_accuracy() -> MaskedAccuracy:
    return MaskedAccuracy(network, Preprocessing(size=8, resize=8), gammas=(0.5,), fill="black")


def insertion_deletion() -> InsertionDeletion:
    return InsertionDeletion(network, steps=2, blur=0)


@pytest.mark.parametrize("metric", [IoUCurve, SaliencyDetection, EnergyInMask])
@pytest.mark.parametrize(
    "batch",
    [
        {},
        {"mask": MASK[:1]},
        {"mask": MASK[..., :4]},
        {"mask": MASK[:, 0]},
        {"mask": MASK.repeat(1, 2, 1, 1)},
        {"mask": MASK * torch.nan},
        {"mask": MASK.tolist()},
    ],
)
def test_masks_that_do_not_match_are_refused(metric: type[ExplanationMetric], batch: Any) -> None:
    with pytest.raises(ValueError, match="mask"):
        metric().update(explanation_of(MAPS, [0, 1]), batch)


@pytest.mark.parametrize("metric", [PointingGame, LocalizationError, EnergyInBoxes])
@pytest.mark.parametrize(
    "batch",
    [{}, {"boxes": [BOX]}, {"boxes": [BOX, FLIPPED]}, {"boxes": [BOX, BOX * torch.nan]}, {"boxes": [BOX, BOX[0]]}],
)
def test_boxes_that_do_not_match_are_refused(metric: type[ExplanationMetric], batch: Any) -> None:
    with pytest.raises(ValueError, match="boxes"):
        metric().update(explanation_of(MAPS, [0, 1]), batch)


@pytest.mark.parametrize("metric", [PointingGame, LocalizationError])
def test_labels_of_boxes_must_be_one_a_box(metric: type[ExplanationMetric]) -> None:
    for labels in ([LABELS, LABELS[:1]], [LABELS[:1]]):
        with pytest.raises(ValueError, match="box_labels"):
            metric().update(explanation_of(MAPS, [0, 1]), Batch(boxes=[BOX, BOX], box_labels=labels))


@pytest.mark.parametrize(
    ("metric", "batch"),
    [
        (Locality, {}),
        (Locality, {"parts": PARTS[:1]}),
        (Locality, {"parts": PARTS[..., :2]}),
        (ObjectLocality, {"objects": OBJECTS[:1]}),
        (ObjectLocality, {"objects": OBJECTS[..., :4]}),
        (ObjectLocality, {"objects": OBJECTS.float() / 2}),
        (ObjectLocality, {"objects": -OBJECTS}),
        (insertion_deletion, {}),
        (insertion_deletion, {"image": IMAGES[:1]}),
        (insertion_deletion, {"image": IMAGES[..., :4]}),
        (insertion_deletion, {"image": IMAGES.to(torch.uint8)}),
        (masked_accuracy, {"image": IMAGES[:1], "label": LABELS[:1]}),
        (masked_accuracy, {"image": IMAGES, "label": LABELS[:1]}),
        (masked_accuracy, {"image": IMAGES, "label": torch.ones(2, 2)}),
    ],
)
def test_other_annotations_that_do_not_match_are_refused(metric: Any, batch: Any) -> None:
    with pytest.raises(ValueError, match=r"give |must be|has no"):
        metric().update(explanation_of(MAPS, [0, 1]), batch)


@pytest.mark.parametrize(
    ("metric", "arguments"),
    [
        (MeanClassAccuracy, (torch.eye(2), LABELS[:1])),
        (MeanClassAccuracy, (torch.eye(2), LABELS + 1)),
        (MeanClassAccuracy, (torch.eye(2), LABELS - 1)),
        (MeanClassAccuracy, (torch.eye(2), LABELS + 0.5)),
        (MeanClassAccuracy, (torch.eye(2)[0], LABELS)),
        (lambda: ClassReconstruction(2), (torch.eye(2), LABELS[:1])),
        (lambda: ClassReconstruction(2), (torch.eye(2), torch.ones(1, 2))),
        (lambda: ClassReconstruction(2), (torch.eye(3), LABELS)),
        (lambda: ClassReconstruction(2), (torch.eye(2), LABELS + 1)),
        (lambda: AliveFeatures(2, 3), (torch.ones(4, 2, 3), torch.ones(1, 2))),
        (lambda: AliveFeatures(2, 3), (torch.ones(4, 2, 3), torch.ones(4, 1))),
        (BoxOcclusion, (torch.ones(2, 1),)),
        (BoxOcclusion, (torch.ones(7),)),
        (RegressionFaithfulness, (torch.ones(1, 2), torch.ones(4, 5), LABELS)),
        (ClassificationFaithfulness, (torch.ones(4, 1), torch.ones(4, 5), LABELS)),
    ],
)
def test_numbers_that_do_not_match_are_refused(metric: Any, arguments: Any) -> None:
    with pytest.raises(ValueError, match="give "):
        metric().update(*arguments)


def test_empty_batches_change_nothing() -> None:
    empty = explanation_of(MAPS[:0], [])
    batch = Batch(mask=MASK[:0], boxes=[], parts=PARTS[:0], objects=OBJECTS[:0], image=IMAGES[:0], label=LABELS[:0])
    full = Batch(mask=MASK, boxes=[BOX] * 2, parts=PARTS, objects=OBJECTS, image=IMAGES, label=LABELS)
    makers: list[Any] = [
        IoUCurve,
        SaliencyDetection,
        EnergyInMask,
        EnergyInBoxes,
        PointingGame,
        LocalizationError,
        Locality,
        ObjectLocality,
        Orthogonality,
        insertion_deletion,
        masked_accuracy,
    ]
    for make in makers:
        alone, with_empty = make(), make()
        alone.update(explanation_of(MAPS, [0, 1]), full)
        with_empty.update(empty, batch)
        with_empty.update(explanation_of(MAPS, [0, 1]), full)
        torch.testing.assert_close(with_empty.compute(), alone.compute(), equal_nan=True)
