"""``vitrine.explainer``: any network with any method in one call, and its overlay at the picture's own size."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import vitrine
from vitrine.attribution import ExcitationBackprop
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.attribution import AttributionExplainer
from vitrine.explainers.inversion.explainer import InversionExplainer


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "dog.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def test_from_a_file_to_an_overlay_in_three_lines(photo: Path, tmp_path: Path) -> None:
    explainer = vitrine.explainer(network(), method="LayerCAM", size=32, device="cpu")
    explainer.explain(photo).save(tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size
        changed = (np.array(drawn) != np.array(original)).any(-1)
    assert changed[20:40, 35:55].mean() > 0.5
    assert not changed[:, :10].any()  # cut away by the square in the middle


def test_networks_of_a_library_are_prepared_as_it_says() -> None:
    by_name = vitrine.explainer("squeezenet1_1", "EBP", weights="none", device="cpu")
    as_module = vitrine.explainer(torchvision.models.squeezenet1_1(weights=None), "EBP", device="cpu")
    assert by_name.preprocessing == as_module.preprocessing == Preprocessing(224, 256)
    assert isinstance(by_name.method, ExcitationBackprop)


def test_classes_from_a_list_and_a_file_and_arguments_of_the_method(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\nwasp\n")
    for classes in (["ant", "bee", "wasp"], tmp_path / "names.txt", str(tmp_path / "names.txt")):
        assert vitrine.explainer(network(), classes=classes, size=32, layer="0").classes == ["ant", "bee", "wasp"]
    explainer = vitrine.explainer(network(), size=32, layer="0")
    assert isinstance(explainer, AttributionExplainer)
    assert explainer.method.layer == "0"
    with pytest.raises(ValueError, match="2 names, and the network has 3 logits"):
        vitrine.explainer(network(), classes=["a", "b"], size=32)


def test_the_inversion_mask_and_saved_folders(photo: Path, tmp_path: Path) -> None:
    mask = vitrine.explainer(network(), "InversionMask", size=32, variant="fine", class_steps=2, mask_layers=["1"])
    assert isinstance(mask, InversionExplainer)
    assert mask.explain(photo).heatmaps.shape == (1, 1, 32, 32)
    made = vitrine.explainer(network(), size=32)
    made.save(tmp_path / "saved")
    again = vitrine.load(tmp_path / "saved", backbone=network())
    assert torch.equal(again.explain(photo).heatmaps, made.explain(photo).heatmaps)


def test_wrong_names_are_told_with_near_ones() -> None:
    with pytest.raises(ValueError, match="near names: GradCAM"):
        vitrine.explainer(network(), "GardCAM", size=32)
    with pytest.raises(ValueError, match="model is a int"):
        vitrine.explainer(3)  # type: ignore[arg-type]
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 3))
    with pytest.raises(ValueError, match="CAM does not work on this network"):
        vitrine.explainer(flat, "CAM", size=32)
