"""Source windows: closed forms of resizing, cropping and flipping, and random crops against the picture itself."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from datamodules.samples import collate
from vitrine.data.preprocessing import Preprocessing

BOXES = [(10.0, 20.0, 40.0, 36.0), (0.0, 0.0, 4.0, 4.0)]


def sample_of(height: int, width: int) -> dict[str, Any]:
    """Red rises with the column, green with the row."""
    image = torch.zeros(3, height, width)
    image[0], image[1] = torch.arange(width) / width, (torch.arange(height) / height)[:, None]
    boxes = tv_tensors.BoundingBoxes(torch.tensor(BOXES), format="XYXY", canvas_size=(height, width))
    return {"image": tv_tensors.Image(image), "boxes": boxes, "box_labels": torch.tensor([3, 5])}


@pytest.mark.parametrize(
    ("preprocessing", "size", "window"),
    [
        (Preprocessing(30, None), (60, 100), (0, 0, 100, 60)),  # the whole image
        (Preprocessing(60, 60), (60, 100), (20, 0, 80, 60)),  # its middle
        (Preprocessing(30, 30), (60, 100), (20, 0, 80, 60)),  # the same at half the size
        (Preprocessing(20, 30), (60, 100), (30, 10, 70, 50)),
        (Preprocessing(120, 240), (100, 60), (15, 35, 45, 65)),  # enlarged, upright
        (
            Preprocessing(5, 5),
            (5, 1000),
            (498, 0, 503, 5),
        ),  # whose ends are cut off first: 420 … 580, of which 78 … 83 stay
    ],
)
def test_a_window_is_what_resize_and_crop_leave(
    preprocessing: Preprocessing, size: tuple[int, int], window: tuple[float, ...]
) -> None:
    done = preprocessing.sample(sample_of(*size))
    assert done["source_window"].tolist() == pytest.approx(window, abs=1e-4)
    assert done["source_size"].tolist() == list(size)
    assert done["source_boxes"].tolist() == [list(box) for box in BOXES]  # also the one that a crop cuts away
    assert done["source_box_labels"].tolist() == [3, 5]
    assert type(done["source_boxes"]) is Tensor


def test_a_window_follows_random_crops_and_flips() -> None:
    """What a pixel of the input shows is the colour of the place that its window gives it."""
    flipped = set()
    for seed in range(20):
        torch.manual_seed(seed)
        preprocessing = Preprocessing(50, 50)
        done = preprocessing.augmented(sample_of(60, 100))
        colours = preprocessing.denormalize(done["image"][None])[0]
        x0, y0, x1, y1 = done["source_window"].tolist()
        centres = (torch.arange(50) + 0.5) / 50
        columns, rows = x0 + centres * (x1 - x0), y0 + centres * (y1 - y0)
        inner = slice(2, -2)  # antialiasing bends the ends
        expected_columns, expected_rows = (columns - 0.5) / 100, (rows - 0.5) / 60
        torch.testing.assert_close(colours[0, 25, inner], expected_columns[inner].float(), atol=2e-3, rtol=0)
        torch.testing.assert_close(colours[1, inner, 25], expected_rows[inner].float(), atol=2e-3, rtol=0)
        flipped.add(x0 > x1)
    assert flipped == {True, False}


def test_only_samples_with_boxes_have_one_and_batches_keep_it() -> None:
    preprocessing = Preprocessing(30, 30)
    plain = {"image": sample_of(60, 100)["image"]}
    assert set(preprocessing.sample(plain)) == {"image"}
    batch = collate([preprocessing.sample(sample_of(60, 100)), preprocessing.sample(sample_of(90, 40))])
    assert batch["source_size"].tolist() == [[60, 100], [90, 40]]
    assert batch["source_window"].shape == (2, 4)
    assert [len(boxes) for boxes in batch["source_boxes"]] == [2, 2]
    assert set(batch) == {
        "image", "boxes", "box_labels", "source_size", "source_window", "source_boxes", "source_box_labels",
    }  # fmt: skip
