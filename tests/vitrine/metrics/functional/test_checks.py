"""What no metric takes: maps, masks, boxes and classes that do not match, or are no numbers; and empty batches."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitrine.metrics import functional as M
from vitrine.metrics.box_occlusion import box_occlusion
from vitrine.metrics.functional.checks import checked_boxes, checked_classes
from vitrine.metrics.grid import grid_contrast, grid_share
from vitrine.metrics.masked_images import kept_pixels, mask_images

MAPS = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
MASKS = torch.ones(2, 8, 8)
BOX = torch.tensor([[1.0, 1.0, 5.0, 6.0]])
FLIPPED, NAN_BOX = BOX[:, [2, 1, 0, 3]], BOX * math.nan
IMAGES, TARGETS = torch.rand(2, 3, 8, 8), torch.tensor([0, 1])
PARTS = torch.tensor([[1.0, 1.0, 1.0]])

Call = Callable[[Tensor, Any], Any]


network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


MASK_CALLS: dict[str, Call] = {
    "iou_at_thresholds": M.iou_at_thresholds, "iou_curve": M.iou_curve, "iou_curve_area": M.iou_curve_area,
    "energy_inside": M.energy_inside, "saliency_scores": M.saliency_scores, "saliency_curves": M.saliency_curves,
}  # fmt: skip
BOX_CALLS: dict[str, Call] = {
    "pointing_hit": M.pointing_hit, "localization_ious": M.localization_ious,
    "localization_success": lambda maps, boxes: M.localization_success(maps, boxes, 1.0),
    "localization_error": lambda maps, boxes: M.localization_error(maps, boxes, 1.0),
}  # fmt: skip
IMAGE_CALLS: dict[str, Call] = {
    "insertion_curve": lambda maps, images: M.insertion_curve(network, images, maps, TARGETS[: len(maps)], 2, 1.0),
    "deletion_curve": lambda maps, images: M.deletion_curve(network, images, maps, TARGETS[: len(maps)], 2),
    "box_occlusion": lambda maps, images: box_occlusion(network, images, maps, TARGETS[: len(maps)], 2),
    "pixel_flipping_curve": lambda maps, images: M.pixel_flipping_curve(network, images, maps, TARGETS[: len(maps)]),
    "road_curve": lambda maps, images: M.road_curve(network, images, maps, TARGETS[: len(maps)], (0.2, 0.5)),
    "infidelity": lambda maps, images: M.infidelity(
        network, images, maps, TARGETS[: len(maps)], [torch.ones(len(maps), 3, 8, 8)]
    ),
    "max_sensitivity": lambda maps, images: M.max_sensitivity(
        lambda one: one[:, 0], images, maps, [torch.ones(3, 8, 8)]
    ),
}


def with_other(call: Call, other: Any) -> Call:
    return lambda maps, _: call(maps, other)


MAP_CALLS: dict[str, Call] = {
    **{name: with_other(call, MASKS) for name, call in MASK_CALLS.items()},
    **{name: with_other(call, [BOX, BOX]) for name, call in BOX_CALLS.items()},
    **{name: with_other(call, IMAGES) for name, call in IMAGE_CALLS.items()},
    "sparseness": lambda maps, _: M.sparseness(maps),
    "complexity": lambda maps, _: M.complexity(maps),
    "maximum_point": lambda maps, _: M.maximum_point(maps),
    "tightest_boxes": lambda maps, _: M.tightest_boxes(maps),
    "pixel_probabilities": lambda maps, _: M.pixel_probabilities(maps),
    "voronoi_part_probabilities": lambda maps, _: M.voronoi_part_probabilities(maps, PARTS, BOX[0]),
    "object_probabilities": lambda maps, _: M.object_probabilities(maps, MASKS[0].long()),
    "grid_share": lambda maps, _: grid_share(maps, 2),
    "grid_contrast": lambda maps, _: grid_contrast(maps, 2),
}


@pytest.mark.parametrize("name", MASK_CALLS)
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (MASKS[:1], r"\(1, 8, 8\).*\(2, 8, 8\)"),
        (MASKS[:, :1], r"\(2, 1, 8\)"),
        (MASKS[:, :, :4], r"\(2, 8, 4\)"),
        (MASKS[0], r"\(8, 8\)"),
        (MASKS[:, None], r"\(2, 1, 8, 8\)"),
        (MASKS * math.nan, "NaN"),
        (MASKS.numpy(), "ndarray"),
        (MASKS.tolist(), "list"),
        (None, "NoneType"),
        (MASKS.to(torch.complex64), "complex"),
    ],
)
def test_masks_that_do_not_match_are_refused(name: str, masks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(mask|masks|region) .*{message}"):
        MASK_CALLS[name](MAPS, masks)


@pytest.mark.parametrize("name", MASK_CALLS)
def test_masks_of_any_number_type_are_the_same_mask(name: str) -> None:
    masks = (MAPS > 0.6).float()
    expected = MASK_CALLS[name](MAPS, masks)
    for other in (masks.bool(), masks.long(), 255 * masks.to(torch.uint8), masks.half(), -masks):
        torch.testing.assert_close(MASK_CALLS[name](MAPS, other), expected)


@pytest.mark.parametrize("name", BOX_CALLS)
@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([BOX, FLIPPED], r"boxes\[1\] holds \[5\.0, 1\.0, 1\.0, 6\.0\]"),
        ([BOX[:, [0, 3, 2, 1]], BOX], r"boxes\[0\] holds"),
        ([BOX, NAN_BOX], r"boxes\[1\] holds \[nan"),
        ([BOX, BOX * math.inf], r"boxes\[1\] holds \[inf"),
        ([BOX], "boxes is a list of 1 for 2 maps"),
        ([BOX] * 3, "boxes is a list of 3 for 2 maps"),
        (BOX, "boxes is a Tensor of 1 for 2 maps"),
        ([BOX[0], BOX], r"boxes\[0\] has the shape \(4,\)"),
        ([BOX, BOX[:, :3]], r"boxes\[1\] has the shape \(1, 3\)"),
        ([BOX, BOX.numpy()], r"boxes\[1\] is a ndarray"),
        ([BOX, BOX.tolist()], r"boxes\[1\] is a list"),
        (None, "boxes is a NoneType"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(name: str, boxes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BOX_CALLS[name](MAPS, boxes)


@pytest.mark.parametrize("name", MAP_CALLS)
@pytest.mark.parametrize("maps", [MAPS.numpy(), MAPS.tolist(), MAPS[0], MAPS[None], MAPS[:, :, :0], MAPS[:, :0]])
def test_maps_of_another_type_or_shape_are_refused(name: str, maps: Any) -> None:
    if "saliency" in name and isinstance(maps, Tensor) and maps.numel():
        pytest.skip("saliency takes any number of leading dimensions")
    with pytest.raises(ValueError, match=r"give |must be"):
        MAP_CALLS[name](maps, None)


@pytest.mark.parametrize("name", MAP_CALLS)
def test_maps_of_integers_are_their_floats(name: str) -> None:
    maps = (20 * MAPS).to(torch.uint8)
    found, expected = MAP_CALLS[name](maps, None), MAP_CALLS[name](maps.double(), None)
    torch.testing.assert_close(found, expected, check_dtype=False, equal_nan=True)


@pytest.mark.parametrize("name", [*MASK_CALLS, *BOX_CALLS, *IMAGE_CALLS])
def test_an_empty_batch_is_an_empty_result(name: str) -> None:
    calls = {**MASK_CALLS, **BOX_CALLS, **IMAGE_CALLS}
    other: Any = MASKS[:0] if name in MASK_CALLS else [] if name in BOX_CALLS else IMAGES[:0]
    found = calls[name](MAPS[:0], other)
    for values in found if isinstance(found, tuple) else [found]:
        assert len(values) == 0 if values.ndim and name != "iou_curve" else values.isnan().all()


@pytest.mark.parametrize("name", IMAGE_CALLS)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:1], r"must be \(1, 8, 8\)"),
        ((255 * IMAGES).to(torch.uint8), "uint8.*preprocessing"),
        (IMAGES.masked_fill(IMAGES > 0.9, math.nan), "NaN"),
        (IMAGES.numpy(), "ndarray"),
        (IMAGES[0], r"\(3, 8, 8\)"),
    ],
)
def test_images_that_do_not_match_are_refused(name: str, images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IMAGE_CALLS[name](MAPS, images)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([1]), r"\(1,\) for 2 images"),
        (torch.tensor([1.7, 0.0]), "float32"),
        (torch.tensor([True, False]), "bool"),
        (torch.tensor([0, 3]), "holds 3; give classes from 0 to 2"),
        (torch.tensor([-1, 0]), "holds -1"),
        (np.array([0, 1]), "ndarray"),
        (1, "int"),
    ],
)
def test_classes_that_do_not_match_are_refused(targets: Any, message: str) -> None:
    for call in (
        lambda: checked_classes(targets, 2, 3),
        lambda: M.deletion_curve(network, IMAGES, MAPS, targets, 2),
        lambda: M.insertion_curve(network, IMAGES, MAPS, targets, 2),
        lambda: box_occlusion(network, IMAGES, MAPS, targets, 2),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: M.pointing_hit(MAPS, [BOX, BOX], -1.0), "tolerance is -1"),
        (lambda: M.pointing_hit(MAPS, [BOX, BOX], math.nan), "tolerance is nan"),
        (lambda: M.tightest_boxes(MAPS, (1.0, math.nan)), "alphas"),
        (lambda: M.area_under_iou(torch.rand(3)), r"curve has the shape \(3,\)"),
        (lambda: M.curve_area(torch.rand(5), 64), "curve"),
        (lambda: M.is_difficult(BOX, torch.tensor([1, 2]), 1, (8, 8)), "box_labels"),
        (lambda: M.is_difficult(FLIPPED, torch.tensor([1]), 1, (8, 8)), "boxes holds"),
        (lambda: M.is_difficult(BOX, torch.tensor([1]), 1, (8, 8), torch.ones(2).bool()), "box_difficult"),
        (lambda: M.orthogonality(MAPS), r"M, n, H, W"),
        (lambda: M.object_probabilities(MAPS, MASKS[0]), "objects is torch.float32"),
        (lambda: M.object_probabilities(MAPS, MASKS[0, :4].long()), r"\(4, 8\)"),
        (lambda: M.object_probabilities(MAPS, -MASKS[0].long()), "id -1"),
        (lambda: M.voronoi_weights(PARTS[:, :2], BOX, (8, 8)), "parts"),
        (lambda: M.locality(-torch.ones(1, 3)), "histogram holds -1"),
        (lambda: M.connected_components(MAPS), "on is torch.float32"),
        (lambda: M.decision_kept(torch.rand(1, 2), torch.rand(2, 3), TARGETS), r"logit_estimate.*\(1, 2\)"),
        (lambda: M.absolute_difference(torch.rand(2, 1), torch.rand(2, 3), TARGETS), r"logit_estimate.*\(2, 1\)"),
        (lambda: M.absolute_difference(torch.rand(2, 2), torch.rand(2, 3), TARGETS + 2), "explained_classes holds 3"),
        (lambda: kept_pixels(MAPS, 0.5), "B, K, H, W"),
        (lambda: kept_pixels(MAPS[:, None], math.nan), "gamma is nan"),
        (lambda: mask_images(IMAGES, MASKS), "kept is torch.float32"),
    ],
)
def test_other_arguments_that_make_no_sense_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_box_and_boxes_without_area_are_never_hit() -> None:
    maps = torch.zeros(3, 8, 8)
    maps[:, 4, 4] = 1
    boxes = [None, torch.zeros(0, 4), torch.tensor([[4.0, 4.0, 4.0, 6.0]])]
    assert M.pointing_hit(maps, boxes, 15.0).tolist() == [0, 0, 0]
    assert not M.localization_ious(maps, boxes).any()
    assert [len(rows) for rows in checked_boxes(boxes, 3)] == [0, 0, 1]
    assert M.orthogonality(torch.zeros(0, 2, 4, 4))[0].isnan()
