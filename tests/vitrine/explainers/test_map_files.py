"""Maps from pictures: found by keys, enlarged as images are, and refused where they are not there."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from vitrine.backbones import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.map_files import MapFileExplainer, MapFileOptions


def explainer(folder: Path, resize: int | None = None) -> MapFileExplainer:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    return MapFileExplainer(
        FrozenBackbone(model), MapFileOptions(folder), preprocessing=Preprocessing(size=8, resize=resize)
    )


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.b.png", "set/c.jpg")):
        path = tmp_path / "maps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 10), 50 + 100 * number, dtype=np.uint8)).save(path)
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 16, (16, 1))
    Image.fromarray(ramp).save(tmp_path / "maps" / "ramp.png")
    return tmp_path / "maps"


def test_maps_are_those_of_the_keys(maps: Path) -> None:
    logits = torch.tensor([[0.0, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 2]])
    found = explainer(maps).explanation_of_keys(torch.zeros(3, 3, 8, 8), ["ramp", "set__c", "a_b"], logits, 2)
    assert found.heatmaps.shape == (3, 1, 8, 8)
    torch.testing.assert_close(found.heatmaps[2], torch.full((1, 8, 8), 50 / 255))
    torch.testing.assert_close(found.heatmaps[1], torch.full((1, 8, 8), 150 / 255), atol=0.01, rtol=0)
    ramp = (torch.arange(16) * 16 / 255).expand(1, 1, 16, 16)
    torch.testing.assert_close(found.heatmaps[:1], F.interpolate(ramp, (8, 8), mode="bilinear", antialias=True))
    assert (found.prediction.tolist(), found.target.tolist()) == ([1, 0, 3], [2, 2, 2])


def test_what_cannot_be_measured_is_refused(maps: Path, tmp_path: Path) -> None:
    images, logits = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4)
    with pytest.raises(FileNotFoundError, match="maps has no picture of the image 'romp'; did you mean ramp"):
        explainer(maps).explanation_of_keys(images, ["romp"], logits)
    with pytest.raises(ValueError, match=r"preprocessing\.resize is 9, which crops images"):
        explainer(maps, resize=9).explanation_of_keys(images, ["ramp"], logits)
    with pytest.raises(ValueError, match="measure them with ComparisonModule"):
        explainer(maps).explain(images)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no pictures of maps"):
        explainer(tmp_path / "empty")
