"""Alignment of class activation maps with the image, by nets of which one cell looks at a known place."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.cam_models import bilinear
from vitrine.attribution.cam.alignment import upsampled_by
from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation
from vitrine.attribution.receptive_field.cell_centers import CellCenters

METHODS: list[Any] = [CAM, GradCAM, GradCAMPlusPlus, LayerCAM, ScoreCAM]


def averaging(*body: nn.Module) -> nn.Sequential:
    """A body of mean filters, and classes that are the mean of its one channel, and half of it."""
    net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2, bias=False)).eval()
    for module in body:
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    net[-1].weight.data = torch.tensor([[1.0], [0.5]])
    return net


def strided() -> nn.Sequential:
    return averaging(*(nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False) for _ in range(3)))


def padded_below() -> nn.Sequential:
    """Padded at the end alone, as TensorFlow's networks are."""
    return averaging(*(m for _ in range(3) for m in (nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 3, 2, bias=False))))


CASES = {"padded on both sides": (strided, 8, 0.5), "padded at the end": (padded_below, 8, 7.5)}


def lit(size: int, center: float) -> Tensor:
    """A pixel block around the centre, as wide as a cell's step; brightest in its middle."""
    distance = (torch.arange(size) + 0.5 - center).abs()
    blob = (1 - distance / 6).clamp(min=0)
    return (blob[:, None] * blob)[None, None]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_the_maximum_is_where_the_image_is_lit(name: str, method: Any) -> None:
    build, step, start = CASES[name]
    center = start + 3 * step
    x, net = lit(64, center), build()
    layer = None if method is CAM else str(len(net) - 4)
    maps = method(net, layer).attribute(x, 0)[0, 0]
    row, column = divmod(int(maps.argmax()), 64)
    assert max(abs(row + 0.5 - center), abs(column + 0.5 - center)) <= 1
    plain = method(net, layer, alignment="image").attribute(x, 0)[0, 0]
    assert abs(divmod(int(plain.argmax()), 64)[0] + 0.5 - center) >= 1.5


def test_a_channel_is_drawn_between_the_centres_of_its_cells() -> None:
    net, x = strided(), torch.rand(2, 1, 40, 64)
    cells = net[:3](x).detach()
    maps = UpsampledActivation(net, "2").attribute(x, channel=0)
    assert maps.shape == (2, 1, 40, 64)
    # Cells look at 0.5 + 8 i, which is the centre of pixel 8 i; beyond the last, values go on.
    torch.testing.assert_close(maps[:, :, ::8, ::8], cells)
    torch.testing.assert_close(maps[:, :, 4:33:8, ::8], (cells[:, :, :-1] + cells[:, :, 1:])[:, :, :4] / 2)
    torch.testing.assert_close(maps[:, :, 33:, 57:], cells[:, :, -1:, -1:].expand(-1, -1, 7, 7))
    plain = UpsampledActivation(net, "2", alignment="image").attribute(x, channel=0)
    assert torch.equal(plain, bilinear(cells, x))


class Gated(nn.Module):
    """Squeeze and excitation, or a norm over all places, or nothing but attention over all places."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.norm = kind, nn.GroupNorm(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "gate":
            return x * x.mean((2, 3), keepdim=True).sigmoid()
        if self.kind == "norm":
            normed: Tensor = self.norm(x)
            return normed
        tokens = x.flatten(2).transpose(1, 2)
        mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        mixed = mixed if self.kind == "attention" else mixed + tokens
        return mixed.transpose(1, 2).unflatten(2, x.shape[2:])


@pytest.mark.parametrize("kind", ["gate", "norm", "residual attention", "attention"])
def test_what_looks_at_all_places_moves_no_cell(kind: str) -> None:
    net = strided().insert(3, Gated(kind))
    x = torch.rand(1, 1, 48, 48)
    maps = UpsampledActivation(net, "3").attribute(x, channel=0)
    plain = bilinear(net[:4](x).detach(), x)
    if kind == "attention":  # where nothing else leads to the cells, they have no place of their own
        assert torch.equal(maps, plain)
    else:
        torch.testing.assert_close(maps[:, :, ::8, ::8], net[:4](x).detach())


def test_even_and_unknown_centres_are_the_plain_way() -> None:
    maps, x = torch.rand(2, 3, 4, 5), torch.rand(2, 1, 16, 20)
    even = CellCenters((2.0, 6.0, 10.0, 14.0), (2.0, 6.0, 10.0, 14.0, 18.0))
    of_another_size = CellCenters((1.0, 2.0), (1.0, 2.0))
    found: list[CellCenters | None] = [even, of_another_size, None]
    for _ in range(3):
        assert torch.equal(upsampled_by("receptive_field", maps, x, found.pop), bilinear(maps, x))
    moved = CellCenters((1.0, 5.0, 9.0, 13.0), even.columns)
    assert not torch.allclose(upsampled_by("receptive_field", maps, x, lambda: moved), bilinear(maps, x))
    assert torch.equal(upsampled_by("image", maps, x, lambda: moved), bilinear(maps, x))


def test_an_unknown_alignment_is_refused() -> None:
    for method in (*METHODS, UpsampledActivation):
        with pytest.raises(ValueError, match=r"alignment is 'corners'.*receptive_field"):
            method(strided(), "2", alignment="corners")
