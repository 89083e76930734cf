"""What is kept of an image, against loops; what is painted over it, against OpenCV itself and in closed form."""

import math
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.masked_images import kept_at_gammas, kept_pixels, mask_images, masked_inputs, response_maps

METHODS = ["telea", "navier_stokes"]


def flat(values: list[float]) -> Tensor:
    """(1, 1, 1, n)."""
    return torch.tensor(values)[None, None, None]


# What is kept


def test_several_thresholds_at_once_are_each_by_itself() -> None:
    heatmaps = torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    heatmaps[1, 0, 2, 3], heatmaps[2] = math.nan, -1
    gammas = [0.0, 0.05, 0.5, 1.0, 2.0]
    together = kept_at_gammas(heatmaps, gammas)
    assert together.shape == (4, 5, 5, 6)
    for place, gamma in enumerate(gammas):
        naive = [
            torch.stack(
                [of_one >= gamma * of_one.max() for of_one in maps if not of_one.isnan().any() and of_one.max() > 0]
            )
            for maps in heatmaps[[0, 1, 3]].double()
        ]
        assert torch.equal(together[[0, 1, 3], place], torch.stack([maps.any(dim=0) for maps in naive]))
    assert not together[2].any()


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.0, [True, True, True, True, False]),  # zeros count, what is negative does not
        (0.001, [False, True, True, True, False]),
        (0.25, [False, True, True, True, False]),  # on at the threshold itself
        (0.26, [False, False, True, True, False]),
        (1.0, [False, False, False, True, False]),
        (1.01, [False, False, False, False, False]),
    ],
)
def test_a_map_of_five_values(gamma: float, expected: list[bool]) -> None:
    assert kept_pixels(flat([0.0, 2.0, 4.0, 8.0, -8.0]), gamma)[0, 0].tolist() == expected


def naive(heatmaps: Tensor, gamma: float) -> list[bool]:
    """One pixel after the other, in Python's own floats."""
    maps = heatmaps.double().flatten(1).tolist()
    speaking = [values for values in maps if all(map(math.isfinite, values)) and max(values) > 0]
    return [any(values[p] >= gamma * max(values) for values in speaking) for p in range(len(maps[0]))]


MAPS = st.lists(
    st.lists(st.one_of(st.floats(-10, 10), st.sampled_from([0.0, math.nan, math.inf])), min_size=6, max_size=6),
    min_size=1,
    max_size=3,
)


@given(maps=MAPS, gamma=st.floats(0, 1.2))
def test_it_is_the_naive_loop_over_all_heatmaps(maps: list[list[float]], gamma: float) -> None:
    heatmaps = torch.tensor(maps, dtype=torch.float64).reshape(1, len(maps), 2, 3)
    assert kept_pixels(heatmaps, gamma).flatten().tolist() == naive(heatmaps[0], gamma)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_maps_of_any_type_are_compared_in_float64(dtype: torch.dtype) -> None:
    heatmaps = torch.rand(4, 3, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = kept_pixels(heatmaps, 0.3)
    assert torch.equal(kept, kept_pixels(heatmaps.double(), 0.3))
    assert torch.equal(kept, kept_pixels(64.0 * heatmaps, 0.3))  # the scale does not matter


def test_heatmaps_have_thresholds_of_their_own_and_are_joined() -> None:
    heatmaps = torch.zeros(1, 2, 2, 3)
    heatmaps[0, 0, 0, 0], heatmaps[0, 1, 1, 2] = 1000, 0.001
    kept = kept_pixels(heatmaps, 0.5)[0]
    assert kept.nonzero().tolist() == [[0, 0], [1, 2]]
    alone = [kept_pixels(heatmaps[:, k : k + 1], 0.5)[0] for k in range(2)]
    assert torch.equal(kept, alone[0] | alone[1])


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_maps_that_say_nothing_keep_nothing_and_leave_others_alone(value: float, gamma: float) -> None:
    heatmaps = torch.rand(1, 2, 4, 4) + 0.1
    heatmaps[0, 0] = value
    assert not kept_pixels(heatmaps[:, :1], gamma).any()
    assert torch.equal(kept_pixels(heatmaps, gamma), kept_pixels(heatmaps[:, 1:], gamma))
    if not math.isfinite(value):
        spoilt = heatmaps[:, 1:].clone()
        spoilt[0, 0, 2, 2] = value
        assert not kept_pixels(spoilt, gamma).any()


def explanation_of(heatmaps: Tensor, labels: list[list[str]]) -> Explanation:
    classes = torch.zeros(len(heatmaps), dtype=torch.int64)
    valid = torch.tensor([[bool(label) for label in row] for row in labels])
    logits = torch.zeros(len(heatmaps), 2)
    return Explanation(heatmaps, torch.ones(heatmaps.shape[:2]), labels, classes, classes, logits, valid)


def test_heatmaps_that_are_not_valid_show_nothing() -> None:
    heatmaps = torch.rand(2, 2, 4, 4)
    heatmaps[1, 1] = math.nan
    kept = kept_pixels(response_maps(explanation_of(heatmaps, [["a", "b"], ["a", ""]])), 0.4)
    assert torch.equal(kept[0], kept_pixels(heatmaps[:1], 0.4)[0])
    assert torch.equal(kept[1], kept_pixels(heatmaps[1:, :1], 0.4)[0])
    assert not kept_pixels(response_maps(explanation_of(heatmaps, [["", ""], ["", ""]])), 0.0).any()


# What is painted


def pictures(count: int = 3, size: int = 20) -> tuple[Tensor, Tensor]:
    """Smooth (B, 3, H, W) uint8 images, and (B, H, W) masks with a connected part and loose pixels."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    images = (255 * torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")).to(torch.uint8)
    kept = torch.rand(count, size, size, generator=generator) < 0.1
    kept[:, 4:11, 6:15] = True
    return images, kept


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_kept_pixels_stay_bit_for_bit_and_the_rest_is_opencvs(method: Any, dtype: torch.dtype) -> None:
    images, kept = pictures()
    own = images if dtype == torch.uint8 else images.to(dtype) / 255 + 1e-4 * torch.rand(images.shape, dtype=dtype)
    own = own if dtype == torch.uint8 else own.clamp(0, 1)
    before = own.clone()
    masked = mask_images(own, kept, method=method, radius=4)
    assert masked.dtype == dtype
    assert torch.equal(own, before)
    flag = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}[method]
    for image, result, there in zip(images, masked, kept, strict=True):
        hole = (~there).numpy().astype(np.uint8)
        pixels = np.ascontiguousarray((image * there).permute(1, 2, 0).numpy())
        expected = torch.from_numpy(cv2.inpaint(pixels, hole, 4, flag)).permute(2, 0, 1)
        found = result if dtype == torch.uint8 else (255 * result).round().to(torch.uint8)
        assert torch.equal(found[:, ~there], expected[:, ~there])
    assert torch.equal(masked.permute(1, 0, 2, 3)[:, kept], own.permute(1, 0, 2, 3)[:, kept])


@pytest.mark.parametrize("fill", ["inpaint", "black"])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_what_is_masked_shows_through(fill: Any, method: Any) -> None:
    images, kept = pictures()
    others = torch.where(kept[:, None], images, 255 - images)
    assert torch.equal(mask_images(images, kept, fill, method), mask_images(others, kept, fill, method))


@pytest.mark.parametrize(("method", "off"), [("navier_stokes", 0), ("telea", 12)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_one_pixel_gives_a_constant_image_back(dtype: torch.dtype, method: Any, off: int) -> None:
    constant = torch.tensor([10, 200, 77], dtype=torch.uint8)[:, None, None].expand(3, 30, 40)
    images = (constant if dtype == torch.uint8 else constant.float() / 255)[None]
    for y, x in ((20, 31), (0, 0), (29, 20)):
        kept = torch.zeros(1, 30, 40, dtype=torch.bool)
        kept[0, y, x] = True
        masked = mask_images(images, kept, method=method)
        levels = masked if dtype == torch.uint8 else 255 * masked
        assert float((levels.double() - constant.double()).abs().max()) <= off
        if not off:
            assert torch.equal(masked, images)


def test_a_hole_in_a_ramp_is_closed_by_the_ramp() -> None:
    ramp = (5.0 * torch.arange(40)).to(torch.uint8).expand(1, 3, 40, 40)
    kept = torch.ones(1, 40, 40, dtype=torch.bool)
    kept[0, 17:22, 17:22] = False
    error = (mask_images(ramp, kept).int() - ramp.int()).abs()
    assert 0 < int(error.max()) <= 8  # 200 from end to end


@pytest.mark.parametrize("fill", ["inpaint", "black"])
def test_degenerate_masks(fill: Any) -> None:
    images, _ = pictures(2)
    everything = torch.ones(2, 20, 20, dtype=torch.bool)
    assert torch.equal(mask_images(images, everything, fill), images)
    assert not mask_images(images, ~everything, fill).any()
    assert mask_images(images[:0], everything[:0], fill).shape == (0, 3, 20, 20)


def test_black_is_black_where_nothing_is_kept() -> None:
    images, kept = pictures()
    assert torch.equal(mask_images(images, kept, "black"), images * kept[:, None])


@pytest.mark.parametrize("method", METHODS)
def test_neither_batch_nor_threads_nor_a_second_run_change_anything(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, kept = pictures(5)
    kept[3] = False
    whole = mask_images(images, kept, method=method)
    for row in range(5):
        assert torch.equal(mask_images(images[row : row + 1], kept[row : row + 1], method=method)[0], whole[row])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(mask_images(images, kept, method=method), whole)


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    images, kept = pictures()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs OpenCV: pip install 'vitrine\[inpainting\]'"):
        mask_images(images, kept)
    assert mask_images(images, kept, "black").shape == images.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill": "white"}, "fill is 'white'; give 'inpaint' or 'black'"),
        (
            {"method": "patchmatch"},
            "method is 'patchmatch'; give 'telea' or 'navier_stokes'",
        ),
        ({"radius": 0}, "radius is 0; give a whole number from 1 to 100"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_images(*pictures(), **options)


def test_a_mask_of_another_size() -> None:
    images, kept = pictures()
    with pytest.raises(ValueError, match=r"kept must be \(3, 20, 20\), got \(3, 10, 20\)"):
        mask_images(images, kept[:, ::2])


# Normalised images


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_keep_their_bits_and_black_is_the_normalised_black(dtype: torch.dtype) -> None:
    preprocessing = Preprocessing(20, None)
    images, kept = torch.randn(3, 3, 20, 20).to(dtype), pictures()[1]
    masked = masked_inputs(images, kept, preprocessing, "black")
    assert masked.dtype == dtype
    black = (-torch.tensor(preprocessing.mean) / torch.tensor(preprocessing.std))[:, None].to(dtype)
    channels, originals = masked.permute(1, 0, 2, 3), images.permute(1, 0, 2, 3)
    assert torch.equal(channels[:, kept], originals[:, kept])
    torch.testing.assert_close(channels[:, ~kept], black.expand_as(channels[:, ~kept]))


def test_inputs_are_inpainted_as_their_pictures_are() -> None:
    preprocessing = Preprocessing(20, None)
    pixels, kept = pictures()
    inputs = preprocessing.finished({"image": pixels})["image"]
    expected = preprocessing.finished({"image": mask_images(pixels, kept, method="navier_stokes", radius=5)})["image"]
    found = masked_inputs(inputs, kept, preprocessing, method="navier_stokes", radius=5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_heatmaps_are_blurred_as_they_are_shown_only_where_that_is_wanted() -> None:
    heatmaps = torch.zeros(1, 1, 40, 50)
    heatmaps[0, 0, 20, 25] = 1e-30  # of any scale
    explanation = explanation_of(heatmaps, [["a"]])
    shown = response_maps(explanation, 0.02)
    distance = ((torch.arange(40)[:, None] - 20) ** 2 + (torch.arange(50) - 25) ** 2).sqrt()
    # A Gaussian of 1 px, 2 % of 50, falls to 5 % of its height at √(2 ln 20) px.
    assert torch.equal(kept_pixels(shown, 0.05)[0], distance <= (2 * math.log(20)) ** 0.5)
    assert torch.equal(response_maps(explanation), heatmaps / 1e-30)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_each_channel_is_inpainted_as_one_of_three(method: Any, channels: int) -> None:
    images = torch.rand(2, channels, 12, 10)
    kept = torch.rand(2, 12, 10) > 0.4
    found = mask_images(images, kept, "inpaint", method)
    for channel in range(channels):
        grey = images[:, channel : channel + 1].expand(-1, 3, -1, -1)
        assert torch.equal(found[:, channel], mask_images(grey, kept, "inpaint", method)[:, 0])


@pytest.mark.parametrize("fill", ["black", "inpaint"])
def test_inputs_and_a_mask_of_another_size_or_type_are_refused(fill: Any) -> None:
    images, preprocessing = torch.zeros(2, 3, 4, 4), Preprocessing(size=4, resize=None)
    with pytest.raises(ValueError, match=r"kept must be \(2, 4, 4\), got \(2, 1, 1\)"):
        masked_inputs(images, torch.zeros(2, 1, 1, dtype=torch.bool), preprocessing, fill)
    with pytest.raises(ValueError, match="give booleans"):
        masked_inputs(images, torch.zeros(2, 4, 4), preprocessing, fill)


def test_black_inputs_are_those_of_pictures_painted_black() -> None:
    preprocessing = Preprocessing(size=8, resize=None)
    generator = torch.Generator().manual_seed(0)
    images, kept = torch.randn(3, 3, 8, 8, generator=generator), torch.rand(3, 8, 8, generator=generator) > 0.5
    painted = mask_images(preprocessing.denormalize(images), kept, "black")
    by_pictures = images.where(kept[:, None], preprocessing.finished({"image": painted})["image"])
    assert torch.equal(masked_inputs(images, kept, preprocessing, "black"), by_pictures)
