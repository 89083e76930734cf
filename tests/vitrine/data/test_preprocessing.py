import io
import json
import math
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from tests.helpers import oriented_pictures as pictures
from vitrine.data.preprocessing import Preprocessing

HEIGHT, WIDTH = 60, 100
SQUARE = (40, 20, 60, 36)


def marked(square: tuple[int, int, int, int] = SQUARE) -> dict[str, Any]:
    """A black picture with a white square, which a box, a mask, object classes and a part in its middle mark too."""
    x0, y0, x1, y1 = square
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    image[:, y0:y1, x0:x1] = 255
    canvas = (HEIGHT, WIDTH)
    on = image[:1] > 0
    return {
        "key": "marked",
        "label": torch.tensor(3),
        "image": tv_tensors.Image(image),
        "counterfactuals": tv_tensors.Image(torch.stack([image, 255 - image])),
        "boxes": tv_tensors.BoundingBoxes(
            torch.tensor([square, (0, 0, 4, 4)], dtype=torch.float32), format="XYXY", canvas_size=canvas
        ),
        "points": tv_tensors.KeyPoints(
            torch.tensor([[(x0 + x1) / 2, (y0 + y1) / 2], [2.0, 2.0], [50.0, 30.0]]), canvas_size=canvas
        ),
        "visible": torch.tensor([1.0, 1.0, 0.0]),
        "mask": tv_tensors.Mask(on.to(torch.uint8)),
        "objects": tv_tensors.Mask(on.to(torch.int64) * 260),
    }


def extent(on: Tensor) -> list[float]:
    """The tightest half-open box around what is on in an (H, W) picture."""
    ys, xs = torch.nonzero(on, as_tuple=True)
    return [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]


def check_follows(done: dict[str, Any], preprocessing: Preprocessing) -> None:
    size = preprocessing.size
    bright = preprocessing.denormalize(done["image"][None])[0, 0] > 0.5
    assert done["image"].shape == (3, size, size)
    others = preprocessing.denormalize(done["counterfactuals"])
    torch.testing.assert_close(others[0], preprocessing.denormalize(done["image"][None])[0])
    torch.testing.assert_close(others[1], 1 - others[0], atol=0.005, rtol=0)
    assert done["mask"].shape == done["objects"].shape == (1, size, size)
    box = torch.tensor(extent(bright))
    torch.testing.assert_close(done["boxes"][0], box, atol=1.01, rtol=0)
    torch.testing.assert_close(torch.tensor(extent(done["mask"][0] > 0)), box, atol=1.01, rtol=0)
    torch.testing.assert_close(torch.tensor(extent(done["objects"][0] == 260)), box, atol=1.01, rtol=0)
    assert set(done["objects"].unique().tolist()) <= {0, 260}


@pytest.mark.parametrize("preprocessing", [Preprocessing(30, 30), Preprocessing(40, 50), Preprocessing(30, None)])
def test_annotation_follows_the_picture(preprocessing: Preprocessing) -> None:
    done = preprocessing.sample(marked())
    check_follows(done, preprocessing)
    x0, y0, x1, y1 = done["boxes"][0].tolist()
    torch.testing.assert_close(done["parts"][0], torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, 1.0]))
    assert done["key"] == "marked"
    assert done["label"] == 3
    assert not {"points", "visible"} & done.keys()
    assert {type(done[name]) for name in ("image", "counterfactuals", "boxes", "parts", "mask", "objects")} == {Tensor}


def test_what_a_crop_cuts_away_is_dropped_or_invisible() -> None:
    cropped, squashed = Preprocessing(30, 30).sample(marked()), Preprocessing(30, None).sample(marked())
    assert len(cropped["boxes"]) == 1
    assert cropped["parts"][:, 2].tolist() == [1, 0, 0]
    assert len(squashed["boxes"]) == 2
    assert squashed["parts"][:, 2].tolist() == [1, 1, 0]


def labelled(squares: list[tuple[int, int, int, int]]) -> dict[str, Any]:
    """The marked picture with these boxes; each one's class is its left side, and every other one is difficult."""
    boxes = torch.tensor(squares, dtype=torch.float32).reshape(-1, 4)
    return marked() | {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH)),
        "box_labels": boxes[:, 0].long(),
        "box_difficult": torch.arange(len(boxes)) % 2 == 1,
    }


def test_a_box_that_is_cut_away_takes_its_class_and_flag_along() -> None:
    squares = [(0, 0, 4, 4), (30, 5, 40, 15), (90, 0, 99, 9), (44, 2, 60, 50)]  # columns 20 to 80 stay
    done = Preprocessing(60, 60).sample(labelled(squares))
    assert done["boxes"].tolist() == [[10, 5, 20, 15], [24, 2, 40, 50]]
    assert done["box_labels"].tolist() == [30, 44]
    assert done["box_difficult"].tolist() == [True, True]
    assert (done["box_labels"].dtype, done["box_difficult"].dtype) == (torch.int64, torch.bool)
    none = Preprocessing(60, 60).sample(labelled([(0, 0, 4, 4)]))
    assert (none["boxes"].shape, none["box_labels"].shape, none["box_difficult"].shape) == ((0, 4), (0,), (0,))
    assert "box_labels" not in Preprocessing(60, 60).sample(marked())


def test_classes_stay_with_their_boxes_in_random_crops_and_flips() -> None:
    squares = [(4 * step, 5 * step, 4 * step + 40, 5 * step + 1 + step) for step in range(10)]
    heights = {x0: y1 - y0 for x0, y0, _, y1 in squares}
    kept = set()
    for seed in range(30):
        torch.manual_seed(seed)
        sample = labelled(squares)
        sample["box_difficult"] = sample["box_labels"] % 8 == 0
        done = Preprocessing(50, 50).augmented(sample)
        labels = done["box_labels"].tolist()
        kept.add(len(labels))
        assert len(labels) == len(done["boxes"]) == len(done["box_difficult"])
        assert done["box_difficult"].tolist() == [label % 8 == 0 for label in labels]
        pairs = zip(done["boxes"].tolist(), labels, strict=True)
        scales = [(y1 - y0) / heights[label] for (_, y0, _, y1), label in pairs if y0 > 0 and y1 < 50]
        assert max(scales, default=1) <= 1.001 * min(scales, default=1)
    assert len(kept) > 3


def test_a_box_that_a_crop_cuts_is_clipped() -> None:
    done = Preprocessing(60, 60).sample(marked((10, 20, 40, 36)))  # columns 20 to 80 stay
    assert done["boxes"].tolist() == [[0, 20, 20, 36]]
    empty = marked()
    empty["boxes"] = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(HEIGHT, WIDTH))
    assert Preprocessing(30, 30).sample(empty)["boxes"].shape == (0, 4)


def test_annotation_follows_random_crops_and_flips() -> None:
    preprocessing = Preprocessing(50, 50)
    sides, whole = set(), 0
    for seed in range(60):
        torch.manual_seed(seed)
        done = preprocessing.augmented(marked((30, 20, 44, 36)))
        bright = preprocessing.denormalize(done["image"][None])[0, 0] > 0.5
        if not bright.any():
            assert done["parts"][0, 2] == 0
            continue
        check_follows(done, preprocessing)
        x, y, visible = done["parts"][0].tolist()
        assert visible == float(0 <= x < 50 and 0 <= y < 50)
        if visible:
            assert bright[int(y), int(x)]
            whole += 1
            sides.add(x < 25)
    assert whole > 20
    assert sides == {True, False}


def test_an_augmented_picture_is_drawn_from_torch_random_numbers_alone() -> None:
    pictures = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        pictures.append(Preprocessing(20, 20).augmented(marked())["image"])
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_one_picture_is_prepared_like_a_sample(mode: str) -> None:
    preprocessing = Preprocessing(16, 20)
    pixels = torch.randint(0, 256, (24, 30, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    picture = Image.fromarray(pixels.numpy()).convert(mode)
    image = tv_tensors.Image(picture.convert("RGB"))
    assert torch.equal(preprocessing(picture), preprocessing.sample({"image": image})["image"])
    assert preprocessing(picture).dtype == torch.float32


@pytest.mark.parametrize(
    ("mode", "pixel", "right"),
    [
        ("L", (100, 100, 100, 0), [100]),
        ("L", (255, 0, 0, 255), [76]),  # 0.299 of red
        ("RGB", (10, 20, 30, 40), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 40), [10, 20, 30, 40]),
    ],
)
def test_channels_are_those_of_the_mode(mode: Any, pixel: tuple[int, ...], right: list[int]) -> None:
    channels = len(right)
    preprocessing = Preprocessing(8, None, (0.25,) * channels, (0.5,) * channels, mode)
    picture = Image.new("RGBA", (8, 8), pixel)
    prepared = preprocessing(picture)
    assert prepared.shape == (channels, 8, 8)
    torch.testing.assert_close(preprocessing.denormalize(prepared[None])[0, :, 0, 0] * 255, torch.tensor(right).float())
    opaque = {"RGBA": [255]}.get(mode, [])
    for source in ("CMYK", "HSV", "1", "L", "LA", "P", "PA", "YCbCr", "RGB"):
        through = Image.new("RGB", (8, 8), (255, 255, 255)).convert({"PA": "P"}.get(source, source)).convert(source)
        white = preprocessing.denormalize(preprocessing(through)[None])[0, :, 0, 0] * 255
        torch.testing.assert_close(white, torch.tensor([255.0] * (channels - len(opaque)) + opaque), atol=2, rtol=0)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_denormalize_inverts() -> None:
    preprocessing = Preprocessing(8, None, mean=(0.1, 0.5, 0.9), std=(0.2, 1.0, 3.0))
    colours = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    prepared = preprocessing.sample({"image": tv_tensors.Image(colours)})["image"]
    torch.testing.assert_close(preprocessing.denormalize(prepared[None])[0], colours / 255)
    assert preprocessing.denormalize(torch.full((1, 3, 2, 2), 99.0)).max() == 1


def test_round_trip_through_json() -> None:
    preprocessing = Preprocessing(32, None, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    read = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    assert read == preprocessing
    assert hash(read) == hash(preprocessing)
    assert read.key == preprocessing.key


def test_keys_tell_preprocessings_apart() -> None:
    others = [
        Preprocessing(),
        Preprocessing(size=200),
        Preprocessing(resize=None),
        Preprocessing(mean=(0.0, 0.0, 0.0)),
        Preprocessing(std=(1.0, 1.0, 1.0)),
        Preprocessing(mode="L", mean=(0.5,), std=(1.0,)),
    ]
    assert len({preprocessing.key for preprocessing in others}) == len(others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0; give 1 or more"),
        ({"size": 64, "resize": 32}, "resize is 32; give the size 64 or more, or null"),
        ({"mean": (0.5,)}, r"mean is \(0.5,\)"),
        ({"mean": (0.5, 0.5)}, r"mean is \(0.5, 0.5\); give 3 numbers, as many as RGB has channels"),
        ({"mode": "L"}, r"mean is .*; give 1 number, as many as L has channels"),
        ({"mode": "RGBA", "mean": (0.5,) * 4}, r"std is .*; give 4 numbers"),
        ({"mode": "CMYK"}, "mode is 'CMYK'"),
        ({"std": (1.0, 0.0, 1.0)}, r"std\[1\] is 0\.0; give a number above 0"),
        ({"mean": (0.5, math.nan, 0.5)}, r"mean\[1\] is nan"),
        ({"std": (1.0, 1.0, math.inf)}, r"std\[2\] is inf"),
    ],
)
def test_wrong_sizes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_picture_is_turned_upright(kind: str) -> None:
    preprocessing = Preprocessing(40, None)
    upright = Image.fromarray(pictures.upright_of(pictures.stored_pixels(), 8).copy())
    lying = Image.open(io.BytesIO(pictures.encoded(pictures.stored_pixels(), kind, 8)))
    torch.testing.assert_close(preprocessing(lying), preprocessing(upright), atol=0.1, rtol=0)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 999), (1, 1)])
def test_very_long_pictures_keep_their_middle(size: tuple[int, int]) -> None:
    """The centre crop of a picture that grows brighter along its long side is as bright as its middle."""
    ramp = torch.linspace(0, 255, max(size)).to(torch.uint8)
    pixels = ramp.expand(size[1], size[0]) if size[0] > size[1] else ramp[:, None].expand(size[1], size[0])
    preprocessing = Preprocessing(32, 36, mean=(0, 0, 0), std=(1, 1, 1))
    prepared = preprocessing(Image.fromarray(pixels.contiguous().numpy()))
    assert prepared.shape == (3, 32, 32)
    assert (prepared - ramp[max(size) // 2] / 255).abs().max() < 0.02


def test_annotation_of_a_very_long_picture_follows_it() -> None:
    image = torch.zeros(3, 4, 4000, dtype=torch.uint8)
    image[:, 1:3, 1998:2002] = 255
    box = tv_tensors.BoundingBoxes(torch.tensor([[1998.0, 1, 2002, 3]]), format="XYXY", canvas_size=(4, 4000))
    done = Preprocessing(32, 32).sample({"image": tv_tensors.Image(image), "boxes": box})
    assert done["boxes"].tolist() == [[0, 8, 32, 24]]
    assert done["image"][0, 16, 16] > 2


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (8, 200), (16, 16), (20, 400)])
@pytest.mark.parametrize("resize", [20, 16, None])
def test_it_is_the_chain_of_torchvisions_transforms(size: tuple[int, int], resize: int | None) -> None:
    pixels = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    preprocessing = Preprocessing(16, resize)
    steps: list[v2.Transform] = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]
    chain = [v2.Resize((16, 16))] if resize is None else [v2.Resize(resize), v2.CenterCrop(16)]
    done = preprocessing.sample({"image": tv_tensors.Image(pixels)})["image"]
    assert torch.equal(done, v2.Compose([*chain, *steps])(pixels))


def test_the_key_is_the_one_of_stores_that_exist() -> None:
    """What is computed has not changed, so that kept features are found again."""
    assert Preprocessing().key == (
        '{"mean": [0.485, 0.456, 0.406], "mode": "RGB", "resize": 256, "size": 224, "std": [0.229, 0.224, 0.225]}'
    )
