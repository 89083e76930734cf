from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.token_networks import torchvision_vit
from vitrine.attribution import GradCAM, Occlusion, Saliency
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.image_inputs import ModelRunError, check_images
from vitrine.explainers import InversionExplainer

NAN = torch.rand(3, 3, 8, 8)
NAN[1, 0, 2, 2] = float("nan")
WRONG = [
    (torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8), "torch.uint8.*`preprocessing`"),
    (torch.ones(2, 3, 8, 8, dtype=torch.int64), "torch.int64.*`preprocessing`"),
    (torch.ones(2, 3, 8, 8, dtype=torch.bool), "torch.bool"),
    (torch.ones(2, 3, 8, 8, dtype=torch.complex64), "torch.complex64"),
    (torch.rand(3, 8, 8), r"\(3, 8, 8\).*\[None\]"),
    (torch.rand(8, 8), r"got \(8, 8\)"),
    (torch.rand(1, 2, 3, 8, 8), r"got \(1, 2, 3, 8, 8\)"),
    (torch.rand(2, 8, 8, 3), r"channels last; give .*permute\(0, 3, 1, 2\)"),
    (torch.rand(2, 8, 8, 1), "channels last"),
    (torch.rand(2, 3, 0, 8), "must have pixels"),
    (np.random.default_rng(0).random((2, 3, 8, 8)), r"got numpy.ndarray of shape \(2, 3, 8, 8\)"),
    ([torch.rand(3, 8, 8)], "got list"),
    (None, "got NoneType"),
    ("image.png", "got str"),
    (NAN, "NaN or infinity, first in image 1"),
    (NAN.nan_to_num(nan=float("inf")), "NaN or infinity, first in image 1"),
]


def test_images_as_models_take_them_pass() -> None:
    for shape in [(2, 3, 8, 8), (0, 3, 8, 8), (1, 6, 8, 8), (1, 1, 3, 3), (1, 3, 3, 3), (2, 64, 1, 1)]:
        check_images(torch.rand(shape), finite=True)
    check_images(NAN)
    check_images(torch.rand(1, 3, 8, 8).half())


@pytest.mark.parametrize(("images", "message"), WRONG)
def test_what_is_no_batch_of_images_is_named(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_images(images, finite=True)


@pytest.mark.parametrize(("images", "message"), WRONG)
def test_methods_and_explainers_check_their_images(images: Any, message: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    for method in (Saliency(model), GradCAM(model, "1"), Occlusion(model, None, 4, 4)):
        with pytest.raises(ValueError, match=message):
            method.attribute(images)
    backbone = FrozenBackbone(model)
    if not isinstance(images, str | np.ndarray):  # which are pictures for it
        with pytest.raises(ValueError, match=message):
            InversionExplainer(backbone).explain(images)
    if "NaN" not in message:  # a fit would have to wait for the answer at every step
        with pytest.raises(ValueError, match=message):
            backbone(images)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_a_wrong_number_of_channels_is_named_by_the_method(channels: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(ValueError, match=rf"Saliency cannot run the model on images .*\(2, {channels}, 8, 8\)"):
        Saliency(model).attribute(torch.rand(2, channels, 8, 8))


@pytest.mark.parametrize(
    ("network", "arguments", "remedy"),
    [
        ("timm:vit_tiny_patch16_224", {"img_size": 32, "depth": 1}, r"dynamic_img_size: true"),
        ("timm:swin_tiny_patch4_window7_224", {"img_size": 32, "depths": (1, 1)}, r"img_size: SIZE"),
        (torchvision_vit(), None, r"image_size: SIZE"),
    ],
)
def test_a_network_of_one_size_names_the_argument_for_others(
    network: str | nn.Module, arguments: dict[str, Any] | None, remedy: str
) -> None:
    backbone = FrozenBackbone(network, arguments=arguments)
    for run in (backbone, Saliency(backbone.model).attribute):
        with pytest.raises(ModelRunError, match=rf"48, 64.*{remedy}"):
            run(torch.rand(1, 3, 48, 64))


def test_timm_interpolates_position_embeddings_where_asked_for() -> None:
    arguments = {"img_size": 32, "depth": 1, "dynamic_img_size": True, "in_chans": 5}
    backbone = FrozenBackbone("timm:vit_tiny_patch16_224", num_classes=2, arguments=arguments)
    assert backbone(torch.rand(1, 5, 48, 64)).logits.shape == (1, 2)
