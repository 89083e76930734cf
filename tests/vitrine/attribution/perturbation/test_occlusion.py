import pytest
import torch
from captum import attr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution.perturbation.occlusion import Occlusion
from vitrine.backbones.batch_mixing import mixes_batch


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4)]
    return nn.Sequential(*layers).double().eval()


def images(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, height, width, dtype=torch.float64, generator=generator)


@torch.no_grad()
def naive(
    model: nn.Module, x: Tensor, target: int, window: tuple[int, int], stride: tuple[int, int], cover: Tensor
) -> Tensor:
    """Of one image: a window after another, until both sides are covered; the last ones may hang over."""
    height, width = x.shape[2:]
    total, count = torch.zeros(height, width, dtype=x.dtype), torch.zeros(height, width, dtype=x.dtype)
    top = 0
    while True:
        left = 0
        while True:
            covered, rows, columns = x.clone(), slice(top, top + window[0]), slice(left, left + window[1])
            covered[..., rows, columns] = cover.expand_as(x)[..., rows, columns]
            total[rows, columns] += (model(x) - model(covered))[0, target]
            count[rows, columns] += 1
            if left + window[1] >= width:
                break
            left += stride[1]
        if top + window[0] >= height:
            return total / count
        top += stride[0]


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Sizes of an image, a window, and a stride."""
    size = [draw(st.integers(4, 9)) for _ in range(2)]
    window = [draw(st.integers(1, side)) for side in size]
    stride = [draw(st.integers(max(1, side // 3), side)) for side in window]
    return tuple((pair[0], pair[1]) for pair in (size, window, stride))  # type: ignore[return-value]


@settings(max_examples=25)
@given(layout=layouts(), cover=st.sampled_from([0.0, 0.6]), bound=st.sampled_from([None, 1, 4]))
def test_equals_a_double_loop(
    layout: tuple[tuple[int, int], tuple[int, int], tuple[int, int]], cover: float, bound: int | None
) -> None:
    size, window, stride = layout
    model, x, baseline = net(), images(*size), torch.tensor(cover, dtype=torch.float64)
    actual = Occlusion(model, None, window, stride, cover, internal_batch_size=bound).attribute(
        x, torch.tensor([[3, 0]])
    )
    assert actual.shape == (1, 2, 1, *size)
    for k, target in enumerate((3, 0)):
        expected = naive(model, x, target, window, stride, baseline)
        torch.testing.assert_close(actual[0, k, 0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("window", "stride"), [((3, 4), (2, 3)), ((7, 6), (1, 1)), ((2, 2), (2, 2))])
def test_equals_captum(window: tuple[int, int], stride: tuple[int, int]) -> None:
    model, x, baseline = net().float(), images(7, 6, batch=2).float(), torch.full((1, 3, 1, 1), 0.4)
    actual = Occlusion(model, None, window, stride, baseline).attribute(x, [1, 3])
    captums = attr.Occlusion(model)
    expected = captums.attribute(x, (3, *window), (3, *stride), baseline.expand_as(x), torch.tensor([1, 3]))
    torch.testing.assert_close(actual, expected[:, :1], rtol=1e-5, atol=1e-6)


def test_a_baseline_of_its_own_for_each_image() -> None:
    model, x, baseline = net(), images(7, 6, batch=2), images(7, 6, batch=4)[2:]
    actual = Occlusion(model, window=3, stride=2, baseline=baseline).attribute(x, [1, 2])
    for row, target in enumerate((1, 2)):
        expected = naive(model, x[row : row + 1], target, (3, 3), (2, 2), baseline[row : row + 1])
        torch.testing.assert_close(actual[row, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_sum_of_pixels_loses_what_is_covered() -> None:
    class Sum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sum((1, 2, 3))[:, None]

    x = images(6, 6)
    actual = Occlusion(Sum(), window=2, stride=2).attribute(x, 0)
    patches = torch.nn.functional.avg_pool2d(x.sum(1, keepdim=True), 2, divisor_override=1)
    torch.testing.assert_close(actual, torch.nn.functional.interpolate(patches, scale_factor=2), rtol=1e-5, atol=1e-5)


def test_a_covered_copy_is_run_once_for_all_targets() -> None:
    model, calls = net(), []
    mixes_batch(model, images(8, 8).repeat(2, 1, 1, 1))  # found once for each model, by passes of its own
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    Occlusion(model, window=4, stride=2, internal_batch_size=4).attribute(images(8, 8), torch.tensor([[0, 1, 2, 3]]))
    assert sum(calls) == 9 + 1  # the image itself
    assert max(calls) == 4


def test_a_window_that_is_too_large() -> None:
    message = (
        r"window \(16, 16\) is larger than the \(12, 20\) images; give a smaller one: Occlusion\(model, window=…\)"
    )
    with pytest.raises(ValueError, match=message):
        Occlusion(net()).attribute(images(12, 20), 0)


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [
        (4, 5, r"stride is \(5, 5\); give at most the window \(4, 4\)"),
        ((4, 8), 5, r"stride is \(5, 5\); give at most the window \(4, 8\)"),
        ((8, 2), (1, 3), r"stride is \(1, 3\); give at most the window \(8, 2\)"),
        (4, 0, "stride is 0"),
        (0, 0, "window is 0"),
    ],
)
def test_a_stride_that_leaves_pixels_out(window: int, stride: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Occlusion(net(), window=window, stride=stride)
