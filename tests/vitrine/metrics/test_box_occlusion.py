"""Box occlusion: what is covered, in which order, and what a network that looks at one place loses."""

import math
import pickle
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.metrics import BoxOcclusion
from vitrine.metrics.box_occlusion import SHARES, box_occlusion, covered_area, first_cover, sampling_order

SIDE = 24


class Corner(nn.Module):
    """Two logits: the mean over the upper left 8 × 8 pixels is that of class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.dropout(self.norm(images))[:, :, :8, :8].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(seen), self.scale * seen], dim=1)


@pytest.fixture
def images() -> Tensor:
    return torch.ones(5, 3, SIDE, SIDE) + 0.1 * torch.randn(
        5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)
    )


def region(rows: slice, columns: slice) -> Tensor:
    """(5, H, W) maps of a rectangle."""
    maps = torch.zeros(5, SIDE, SIDE)
    maps[:, rows, columns] = 1
    return maps


ONES = torch.ones(5, dtype=torch.int64)
KEYS = ["a", "b", "c", "d", "e"]


# What it costs to cover


def test_covering_what_the_network_looks_at_costs_its_confidence(images: Tensor) -> None:
    model = Corner().eval()
    on = box_occlusion(model, images, region(slice(8), slice(8)), ONES, patch_size=4, keys=KEYS)
    off = box_occlusion(model, images, region(slice(12, 24), slice(12, 24)), ONES, patch_size=4, keys=KEYS)
    assert on.shape == (5, len(SHARES))
    assert bool((on[:, 0] > 0.95).all())
    torch.testing.assert_close(off[:, :4], on[:, :1].expand(5, 4))  # 15 % of the image is less than that region
    assert bool((on[:, 3] < 0.7).all())
    # 30 % of the image hold the corner and most patches around it.
    assert bool((on[:, -1] < 0.6).all())


def test_without_patches_it_is_the_networks_own_confidence(images: Tensor) -> None:
    model = Corner().eval()
    found = box_occlusion(model, images, torch.rand(5, SIDE, SIDE), torch.tensor([0, 1, 1, 0, 1]), shares=(0,))
    expected = model(images).softmax(dim=1)[torch.arange(5), [0, 1, 1, 0, 1]]
    torch.testing.assert_close(found[:, 0], expected)


def test_the_whole_image_covered_is_the_background(images: Tensor) -> None:
    model, grey = Corner().eval(), torch.tensor([0.1, 0.7, 0.4])[:, None, None]
    found = box_occlusion(model, images, torch.rand(5, SIDE, SIDE), ONES, shares=(1,), background=grey)
    expected = model(grey.expand_as(images)).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(found, expected)


def test_a_constant_map_is_covered_at_random() -> None:
    """Each pixel away from the border is covered as often as any other, and constants of any height alike."""
    count = 400
    keys = [str(number) for number in range(count)]
    covered = covered_area(first_cover(sampling_order(torch.ones(count, SIDE, SIDE), 0, keys), 3), 0.3).double()
    inner = covered[:, 1:-1, 1:-1].mean(dim=0)
    assert float(covered.mean()) == pytest.approx(0.3, abs=0.01)
    share = float(inner.mean())
    error = math.sqrt(share * (1 - share) / count)
    assert float((inner - share).abs().max()) < 5 * error
    assert float(inner.std()) == pytest.approx(error, rel=0.15)
    for value in (7.0, 0.0, -1.0):
        assert torch.equal(sampling_order(torch.full((2, 8, 8), value), 0), sampling_order(torch.ones(2, 8, 8), 0))


# The order of the draws


def test_the_first_centre_is_drawn_from_the_map() -> None:
    weights = torch.tensor([[1.0, 2.0, 0.0], [5.0, -3.0, 2.0]])
    keys = [str(number) for number in range(4000)]
    order = sampling_order(weights.expand(4000, 2, 3), 0, keys).flatten(1)
    first = torch.bincount(order.argmin(dim=1), minlength=6).double() / 4000
    assert first.tolist() == pytest.approx([0.1, 0.2, 0, 0.5, 0, 0.2], abs=0.03)
    # Without replacement: of those where 3 came first, the next is drawn from what is left.
    second = Counter((order[order.argmin(dim=1) == 3] == 1).nonzero()[:, 1].tolist())
    total = sum(second.values())
    assert [second[pixel] / total for pixel in (0, 1, 5)] == pytest.approx([0.2, 0.4, 0.4], abs=0.05)


def test_pixels_without_a_positive_part_come_last() -> None:
    maps = torch.randn(20, 9, 7, generator=torch.Generator().manual_seed(0))
    order = sampling_order(maps, 0, [str(number) for number in range(20)])
    positive = (maps > 0).flatten(1).sum(dim=1)
    assert torch.equal(order < positive[:, None, None], maps > 0)
    assert torch.equal(order.flatten(1).sort(dim=1).values, torch.arange(63).expand(20, 63))


def test_the_draws_depend_on_seed_and_key_alone() -> None:
    maps = torch.rand(5, 8, 8)
    order = sampling_order(maps, 3, KEYS)
    alone = torch.cat([sampling_order(maps[row : row + 1], 3, [key]) for row, key in enumerate(KEYS)])
    assert torch.equal(alone, order)
    assert torch.equal(sampling_order(1000 * maps.flip(0), 3, KEYS[::-1]).flip(0), order)
    assert not torch.equal(sampling_order(maps, 4, KEYS), order)
    same = sampling_order(maps[:1].expand(2, 8, 8), 3, ["a", "b"])
    assert not torch.equal(same[0], same[1])
    shared = sampling_order(maps[:1].expand(2, 8, 8), 3)
    assert torch.equal(shared[0], shared[1])


# What is covered


def naive_cover(order: Tensor, patch: int, share: float) -> Tensor:
    """Lays patch after patch on one image until enough of it is covered."""
    height, width = order.shape
    covered = torch.zeros(height, width, dtype=torch.bool)
    for pixel in order.flatten().argsort().tolist():
        if float(covered.double().mean()) >= share - 1e-9:
            break
        top, left = pixel // width - patch // 2, pixel % width - patch // 2
        covered[max(top, 0) : max(top + patch, 0), max(left, 0) : max(left + patch, 0)] = True
    return covered


@given(
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    patch=st.integers(1, 12),
    share=st.sampled_from([0, 0.05, 0.1, 0.3, 0.7, 1]),
)
def test_it_is_patch_after_patch(seed: int, size: tuple[int, int], patch: int, share: float) -> None:
    order = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(seed)).reshape(1, *size)
    assert torch.equal(covered_area(first_cover(order, patch), share)[0], naive_cover(order[0], patch, share))


@pytest.mark.parametrize("patch", [1, 4, 5])
def test_shares_are_reached_to_within_a_patch_and_nested(patch: int) -> None:
    covered_by = first_cover(sampling_order(torch.rand(6, 30, 20), 0), patch)
    before = torch.zeros(6, 30, 20, dtype=torch.bool)
    for share in SHARES:
        covered = covered_area(covered_by, share)
        pixels = covered.flatten(1).sum(dim=1)
        assert bool((pixels >= round(share * 600)).all())
        assert bool((pixels < round(share * 600) + patch**2).all())
        assert bool((covered >= before).all())
        before = covered


def test_a_pixel_wide_patch_covers_so_many_pixels_and_no_more() -> None:
    covered = covered_area(first_cover(sampling_order(torch.rand(1, 5, 6), 0), 1), 0.1)
    assert int(covered.sum()) == 3


# The model, the batch, what cannot be measured


def test_the_model_and_the_inputs_stay_as_they_were(images: Tensor) -> None:
    model = Corner().train()
    model.scale.grad = torch.tensor(7.0)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    maps, kept = torch.rand(5, SIDE, SIDE, requires_grad=True), images.clone()
    random = torch.get_rng_state()
    found = box_occlusion(model, images, maps, ONES)
    assert not found.requires_grad
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert model.scale.requires_grad
    assert model.scale.grad == 7
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(images, kept)
    again = box_occlusion(model, images, maps, ONES)
    assert torch.equal(again, found)


def test_one_image_does_not_depend_on_its_batch(images: Tensor) -> None:
    model, maps = Corner().eval(), torch.rand(5, SIDE, SIDE)
    whole = box_occlusion(model, images, maps, ONES, patch_size=5, seed=2, keys=KEYS)
    one = box_occlusion(model, images[3:4], maps[3:4], ONES[:1], patch_size=5, seed=2, keys=["d"])
    torch.testing.assert_close(one, whole[3:4])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_maps_that_are_not_finite_have_no_curve(value: float, images: Tensor) -> None:
    maps = torch.rand(5, SIDE, SIDE)
    maps[2, 0, 0] = value
    found = box_occlusion(Corner().eval(), images, maps, ONES)
    assert found.isnan().all(dim=1).tolist() == [False, False, True, False, False]
    assert found.isnan().any(dim=1).tolist() == [False, False, True, False, False]


def test_probabilities_are_float32_also_of_a_network_in_half_precision(images: Tensor) -> None:
    found = box_occlusion(Corner().eval().bfloat16(), images.bfloat16(), torch.rand(5, SIDE, SIDE), ONES)
    assert found.dtype == torch.float32


def test_wrong_options(images: Tensor) -> None:
    model, maps = Corner(), torch.rand(5, SIDE, SIDE)
    with pytest.raises(ValueError, match=r"patch_size is 0; give 1 or more"):
        box_occlusion(model, images, maps, ONES, patch_size=0)
    with pytest.raises(ValueError, match=r"shares\[1\] is 1\.5; give a number from 0 to 1"):
        box_occlusion(model, images, maps, ONES, patch_size=4, shares=(0, 1.5))
    with pytest.raises(ValueError, match=r"heatmaps must be \(5, 24, 24\), got \(5, 1, 24, 24\)"):
        box_occlusion(model, images, maps[:, None], ONES)


# The metric


CURVES = torch.tensor([[0.9, 0.6, 0.3], [0.5, 0.5, 0.1], [torch.nan] * 3])
EXPECTED = {
    "box_occlusion/drop": (0.3 + 0.6 + 0.0 + 0.4) / 4,
    "box_occlusion/last_drop": 0.5,
    "box_occlusion/degenerate": 1.0,
}


def values(metric: BoxOcclusion) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


def test_the_mean_drop() -> None:
    metric = BoxOcclusion((0, 0.1, 0.2))
    metric.update(CURVES)
    assert values(metric) == pytest.approx(EXPECTED)
    assert metric.row_values["box_occlusion/drop"].tolist() == pytest.approx([0.45, 0.2, math.nan], nan_ok=True)
    assert metric.row_values["box_occlusion/last_drop"].tolist() == pytest.approx([0.6, 0.4, math.nan], nan_ok=True)
    curve = metric.curves()["box_occlusion"]
    assert curve.x == (0, 0.1, 0.2)
    assert list(curve.y) == pytest.approx([0.7, 0.55, 0.2])
    again = pickle.loads(pickle.dumps(metric))
    assert values(again) == values(metric)


@pytest.mark.parametrize("cut", [1, 2])
def test_two_halves_merge_into_the_whole(cut: int) -> None:
    halves = [BoxOcclusion((0, 0.1, 0.2)), BoxOcclusion((0, 0.1, 0.2))]
    halves[0].update(CURVES[:cut])
    halves[1].update(CURVES[cut:])
    halves[0].merge_state(halves[1])
    assert values(halves[0]) == pytest.approx(EXPECTED)


def test_shares_of_the_metric_begin_with_the_whole_image() -> None:
    for wrong in ((0.1, 0.2), (0,), ()):
        with pytest.raises(ValueError, match=r"shares is \(.*the first is 0"):
            BoxOcclusion(wrong)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_taken_in_is_not_a_number() -> None:
    assert math.isnan(values(BoxOcclusion())["box_occlusion/drop"])
