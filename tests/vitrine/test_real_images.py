"""Real photographs and ImageNet weights: preprocessing, weights and heatmaps belong together."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.metrics.functional import box_region, energy_inside


@pytest.fixture
def backbone(real_data: Path) -> FrozenBackbone:
    return FrozenBackbone("squeezenet1_0", weights=real_data / "weights" / "squeezenet1_0.pth")


def test_photographs_are_recognised(backbone: FrozenBackbone, real_data: Path) -> None:
    """Files are sorted by class; every 25th. The network's own top-1 on all of them is 61 %."""
    paths = sorted((real_data / "imagenet_samples").glob("*.JPEG"))[::25]
    images = torch.stack([Preprocessing()(Image.open(path)) for path in paths])
    with torch.no_grad():
        predicted = backbone(images).logits.argmax(dim=1)
    assert (predicted == torch.arange(0, 1000, 25)).float().mean() > 0.45


def boxed_images(folder: Path, preprocessing: Preprocessing) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Images, classes, and boxes in pixels of the squashed images."""
    labels = dict(line.split(",") for line in (folder / "class_labels.txt").read_text().split())
    sizes = {name: (int(w), int(h)) for name, w, h in read_rows(folder / "image_sizes.txt")}
    boxes: dict[str, list[list[float]]] = {}
    for name, *corners in read_rows(folder / "localization.txt"):
        scale = [preprocessing.size / side for side in sizes[name]] * 2
        boxes.setdefault(name, []).append([float(c) * s for c, s in zip(corners, scale, strict=True)])
    images = torch.stack([preprocessing(Image.open(next(folder.rglob(Path(name).name)))) for name in boxes])
    return images, torch.tensor([int(labels[name]) for name in boxes]), [torch.tensor(b) for b in boxes.values()]


def read_rows(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().split()]


def test_contrastive_maps_lie_on_the_objects(backbone: FrozenBackbone, real_data: Path) -> None:
    """More of c-MWP than a uniform map would have is in the boxes of the annotated objects."""
    preprocessing = Preprocessing(resize=None)
    images, classes, boxes = boxed_images(real_data / "imagenet_val_with_boxes", preprocessing)
    maps = ExcitationBackprop(backbone.model, contrastive=True).attribute(images, target=classes)
    regions = torch.stack([box_region(box, (224, 224)) for box in boxes])
    gain = energy_inside(maps[:, 0], regions) - regions.flatten(1).double().mean(dim=1)
    assert gain.mean() > 0.05
