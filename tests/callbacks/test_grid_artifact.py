"""The grid in heatmaps, beside a test: means of the plain measures over all valid heatmaps, whatever the batches."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from callbacks.grid_artifact import GridArtifact
from tests.callbacks.test_box_occlusion import Data
from tests.helpers.red_explainer import InfiniteModule as Module
from tests.helpers.red_explainer import InfiniteRedExplainer, trainer
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.metrics.grid import grid_contrast, grid_share


def test_figures_are_means_of_the_plain_measures(tmp_path: Path) -> None:
    module, data = Module(), Data(batch_size=2)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    module.explainer = InfiniteRedExplainer(FrozenBackbone(network))
    data.images = torch.rand(7, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    data.images[:, 0, ::2, ::2] += 1
    data.images[4, 0] = 1  # degenerate, and left out
    run = trainer(tmp_path, GridArtifact(periods=[2, 4]))
    run.test(module, datamodule=data, verbose=False)
    found = {name: float(value) for name, value in run.callback_metrics.items() if name.startswith("test/grid")}
    maps = data.images[torch.arange(7) != 4, 0]
    expected: dict[str, float] = {"test/grid/degenerate": 1, "test/grid/undefined": 0}
    for period in (2, 4):
        expected[f"test/grid/share_{period}"] = float(grid_share(maps, period).mean())
        expected[f"test/grid/contrast_{period}"] = float(grid_contrast(maps, period).prod() ** (1 / 6))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["test/grid/contrast_2"] > 10


@pytest.mark.parametrize(("periods", "undefined"), [([2], 0), ([4], 3), ([2, 4], 3)])
def test_what_is_left_out_is_counted(periods: list[int], undefined: int, tmp_path: Path) -> None:
    """In 16 pixels no frequency lies just beside those of period 4, so that there is no contrast."""
    data = Data(batch_size=2)
    data.images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    data.images[1:3, 0] = 1
    module = Module()
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    module.explainer = InfiniteRedExplainer(FrozenBackbone(network))
    run = trainer(tmp_path, GridArtifact(periods=periods))
    run.test(module, datamodule=data, verbose=False)
    assert run.callback_metrics["test/grid/degenerate"] == 2
    assert run.callback_metrics["test/grid/undefined"] == undefined


def test_needs_an_explainer_on_a_backbone(tmp_path: Path) -> None:
    module = Module()
    module.explainer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="GridArtifact needs a module with an explainer on a frozen backbone"):
        trainer(tmp_path, GridArtifact()).test(module, datamodule=Data(), verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"periods": []}, r"^periods is \(\); give one or more"),
        ({"periods": [2, 2]}, r"^periods is \(2, 2\); give one or more different"),
        ({"periods": [1]}, r"^periods"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridArtifact(**options)
