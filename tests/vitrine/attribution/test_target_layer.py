"""Which layer class activation maps are drawn over where none is named."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, get_model

from vitrine.attribution.cam.grad_cam import GradCAM
from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.guard import eval_guard


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def found(model: nn.Module, *size: int) -> str:
    with eval_guard(model):
        return target_layer(model, torch.rand(1, 3, *size))


TORCHVISION = [
    ("resnet18", "layer4", (64, 64)),
    ("resnet18", "layer3", (32, 32)),  # layer4 has one cell
    ("squeezenet1_0", "features", (64, 64)),
    ("mobilenet_v2", "features", (64, 96)),
    ("densenet121", "features", (64, 64)),
    ("googlenet", "inception5b", (64, 64)),
    ("vgg11_bn", "features", (224, 224)),
    ("vgg11_bn", "features", (64, 96)),  # the adaptive pooling makes 7 × 7 of 2 × 3
    ("shufflenet_v2_x0_5", "conv5", (64, 64)),
    ("mobilenet_v3_small", "features", (64, 64)),
    ("convnext_tiny", "features", (64, 64)),
    ("swin_t", "permute", (64, 64)),
]


@pytest.mark.parametrize(("name", "layer", "size"), TORCHVISION)
def test_networks_of_torchvision(name: str, layer: str, size: tuple[int, int]) -> None:
    arguments = {"init_weights": False} if name in {"googlenet", "vgg11_bn"} else {}
    model = get_model(name, weights=None, num_classes=10, **arguments)
    assert found(model, *size) == layer


TIMM: list[tuple[str, dict[str, Any], str, int]] = [
    ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3}, "blocks.2.norm1", 64),
    ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3, "reg_tokens": 4}, "blocks.2.norm1", 64),
    ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3, "global_pool": "avg", "class_token": False}, "blocks", 64),
    ("vit_small_patch16_dinov3", {"depth": 2, "num_classes": 10}, "norm", 64),  # the mean of all patches
    ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, "norm", 64),  # (B, h, w, C)
    ("resnet18", {}, "layer4", 64),
    ("mobilevit_xxs", {}, "final_conv", 64),  # tokens on the way
    ("twins_svt_small", {"img_size": 64, "depths": (1, 1, 1, 1)}, "norm", 64),  # after convolutions for positions
    ("cait_xxs24_224", {"img_size": 64, "depth": 2}, "blocks_token_only.1.norm1", 64),  # the class token comes late
    ("volo_d1_224", {"img_size": 64}, "norm", 64),  # not the classes of each patch
    ("levit_128s", {"img_size": 128}, "stages", 128),  # tokens of every second row and column
    ("tnt_s_legacy_patch16_224", {"img_size": 64, "depth": 2}, "blocks.1.norm_out", 64),  # tokens within tokens
    ("convit_tiny", {"img_size": 64, "depth": 4, "local_up_to_layer": 2}, "blocks.3.norm1", 64),
    ("mvitv2_tiny", {"img_size": 128}, "norm", 128),  # tokens are pooled
    (
        "vit_base_patch16_siglip_224",
        {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4},
        "norm",
        64,
    ),  # its keys
    ("tnt_s_patch16_224", {"img_size": 64, "depth": 2}, "blocks.1.norm_out", 64),  # made of patches of pixels
    ("naflexvit_base_patch16_gap", {"depth": 2, "embed_dim": 48, "num_heads": 4}, "norm", 64),  # patches of pixels too
    ("pit_ti_distilled_224", {"img_size": 64}, "transformers.2.blocks.3.norm1", 64),  # class tokens alone come last
    ("efficientvim_m1", {}, "norm.3", 128),  # tokens, then those again that these were made of
]


@pytest.mark.parametrize(("name", "options", "layer", "size"), TIMM)
def test_networks_of_timm(name: str, options: dict[str, Any], layer: str, size: int) -> None:
    assert found(timm.create_model(name, **options), size, size) == layer


def test_attention_by_hand_shows_matrices_that_are_no_maps() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2)
    for block in model.blocks:
        block.attn.fused_attn = False  # attn_drop then gives (B, heads, N, N)
    assert found(model, 64, 64) == "blocks.1.norm1"


def test_the_class_token_alone_is_not_enough() -> None:
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    assert found(model, 32, 32) == "encoder.layers.encoder_layer_1.ln_1"


def test_a_classifier_of_zeros_has_a_layer_and_an_empty_map() -> None:
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)  # its classifier is zeros
    assert found(model, 32, 32) == "encoder"
    assert not GradCAM(model).attribute(torch.rand(1, 3, 32, 32), 0).any()


@pytest.mark.parametrize("classes", [512, 1000])
def test_as_many_channels_as_classes(classes: int) -> None:
    assert found(get_model("resnet18", num_classes=classes), 64, 64) == "layer4"
    assert found(get_model("squeezenet1_0", num_classes=classes), 64, 64) == "features"


class Tail(nn.Module):
    """Gives maps that the logits do not depend on, and reuses a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.aside, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.again(self.again(self.first(x)).relu()).relu_()
        self.aside(features)
        output: Tensor = self.head(features.mean((2, 3)))
        return output


def test_maps_beside_the_way_are_passed_over() -> None:
    assert found(Tail(), 8, 8) == "again"


class Rows(nn.Module):
    """Tokens of whole rows come last."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.mixing, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.convolution(x).mean(3).transpose(1, 2)
        output: Tensor = self.head(self.mixing(rows).tanh().mean(1))
        return output


def test_tokens_without_a_place_at_the_end_are_refused() -> None:
    with pytest.raises(ValueError, match=r"give 8 tokens that have no place in the image.*such as 'convolution'"):
        found(Rows(), 8, 8)


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="No layer of Sequential gives a map of more than one cell"):
        found(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), 8, 8)
    with pytest.raises(ValueError, match="give larger inputs"):
        found(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 2)), 8, 8)


class Closed(nn.Module):
    """Lets no gradient through."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach().mean((2, 3))


def test_a_network_without_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="No gradient leads from the logits of Closed"):
        found(Closed(), 8, 8)


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_the_choice_leaves_the_model_and_the_random_state(name: str) -> None:
    model = get_model("resnet18") if name == "resnet18" else VisionTransformer(64, 8, 1, 2, 16, 32)
    random, state = torch.get_rng_state(), {k: v.clone() for k, v in model.state_dict().items()}
    assert found(model, 64, 64) == found(model, 64, 64)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_with_channels_last_is_drawn_as_the_permuted_one() -> None:
    model = get_model("swin_t", weights=None, num_classes=5)
    x = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(GradCAM(model, "norm").attribute(x, 1), GradCAM(model, "permute").attribute(x, 1))
    assert GradCAM(model).attribute(x, 1).any()


def test_a_named_layer_without_the_inputs_proportions_has_channels_first() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2))
    x = torch.rand(2, 3, 8, 24)
    assert GradCAM(model, "1", relu=False).attribute(x, 0).shape == (2, 1, 8, 24)
