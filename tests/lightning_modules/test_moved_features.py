"""How far features have moved: closed forms, and why nothing is measured."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_modules.moved_features import ENOUGH, earlier_extractor, movement
from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch, Features
from vitrine.explainers import InversionExplainer, InversionOptions, SRAEExplainer, SRAEOptions
from vitrine.explainers.config_file import read_config
from vitrine.explainers.saving import BACKBONE_NAME

CPU = torch.device("cpu")
OWN = "tests.helpers.own_network:OwnNetwork"


class Scaled:
    """The mean colours of images, times a matrix."""

    key = "scaled"

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.images = 0

    def __call__(self, images: Tensor) -> Features:
        self.images += len(images)
        features = images.mean(dim=(2, 3)) @ self.matrix
        return Features(features=features, logits=features)


def batches(count: int, size: int = 8) -> list[Batch]:
    return [Batch(image=torch.rand(size, 3, 4, 4), label=torch.zeros(size)) for _ in range(count)]


def test_features_that_grew_or_turned() -> None:
    same, doubled = Scaled(torch.eye(3)), Scaled(2 * torch.eye(3))
    found = movement(same, doubled, batches(2), CPU)
    assert found is not None
    assert found.relative_distance == pytest.approx(1)
    assert found.cosine == pytest.approx(1)
    assert found.images == 16
    turned = movement(same, Scaled(-torch.eye(3)), batches(1), CPU)
    assert turned is not None
    assert turned.relative_distance == pytest.approx(2)
    assert turned.cosine == pytest.approx(-1)
    assert "moved by 2 of their length (relative L2), with a cosine of -1.000, over 8 training images" in str(turned)


def test_no_more_images_than_needed() -> None:
    extractor = Scaled(torch.eye(3))
    found = movement(extractor, extractor, batches(100), CPU)
    assert found is not None
    assert (found.relative_distance, found.images) == (0.0, ENOUGH)
    assert found.cosine == pytest.approx(1)
    assert extractor.images == 2 * ENOUGH
    assert movement(extractor, extractor, [], CPU) is None


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    SRAEExplainer(FrozenBackbone(OWN), SRAEOptions("relu", hidden=(), image_size=16)).save(tmp_path / "explainer")
    return tmp_path / "explainer"


def test_the_network_of_a_folder(saved: Path) -> None:
    torch.manual_seed(1)
    now, images = FrozenBackbone(OWN, num_classes=5), torch.rand(2, 3, 16, 16)
    found = earlier_extractor(saved, read_config(saved), now, CPU)
    assert isinstance(found, TappedFeatures)
    assert not torch.equal(found(images)["features"], TappedFeatures(now, "relu")(images)["features"])


def test_why_nothing_is_measured(saved: Path, tmp_path: Path) -> None:
    config, backbone = read_config(saved), FrozenBackbone(OWN)
    told = earlier_extractor(saved, config, FrozenBackbone(OwnNetwork()), CPU)
    assert isinstance(told, TappedFeatures)  # of the same class
    other = FrozenBackbone("vitrine.data.an8flower.network:FlowerNet")
    assert f"that network was {OWN}, and this one is" in str(earlier_extractor(saved, config, other, CPU))
    options = InversionOptions(image_size=16, inversion_layer="relu", mask_layers=["relu"])
    InversionExplainer(backbone, options).save(tmp_path / "masks")
    masks = tmp_path / "masks"
    assert "InversionExplainer reads no features" in str(earlier_extractor(masks, read_config(masks), backbone, CPU))
    (saved / BACKBONE_NAME).unlink()
    assert "does not hold the weights" in str(earlier_extractor(saved, config, backbone, CPU))
