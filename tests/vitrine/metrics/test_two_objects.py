"""Maps of two classes side by side, against figures made by hand."""

import pytest
import torch

from vitrine.metrics.two_objects import TwoObjects, canvases


def test_canvases() -> None:
    left, right = torch.zeros(2, 3, 6, 8), torch.ones(2, 3, 6, 8)
    right[..., :2] = right[..., -2:] = 9.0
    cropped = canvases(left, right, "cropped")
    assert not cropped[..., :4].any()
    assert bool((cropped[..., 4:] == 1).all())
    squashed = canvases(left, right, "squashed")
    assert squashed.shape == (2, 3, 6, 8)
    assert squashed[0, 0, 0, 4] > squashed[0, 0, 0, 5] > 1  # the bright edges came along
    assert canvases(torch.zeros(1, 3, 6, 7), torch.ones(1, 3, 6, 7)).shape[-1] == 7


def test_figures() -> None:
    maps = torch.zeros(3, 2, 4, 6)
    maps[0, 0, 0, 0], maps[0, 1, 0, 5] = 1.0, 1.0  # each in its own half
    maps[1, :, 0, 0], maps[1, :, 0, 5] = 3.0, 1.0  # one map twice
    maps[2, 0, 1, 1] = 1.0  # the other is empty
    metric = TwoObjects()
    metric.update(maps[:1])
    metric.update(maps[1:])
    flat = [maps[0, n].flatten() for n in (0, 1)]
    r = float(torch.corrcoef(torch.stack(flat))[0, 1])
    expected = {
        "own_half": (1 + 1 + 0.75 + 0.25 + 1) / 5, "maximum": 4 / 6, "in_order": 0.75, "correlation": (r + 1) / 2,
        "pairs": 3, "degenerate": 1,
    }  # fmt: skip
    found = {name.removeprefix("two_objects/"): float(value) for name, value in metric.compute().items()}
    assert found == pytest.approx(expected)
