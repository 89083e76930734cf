"""Responses of tokens: patches in their grid, class and register tokens as filters of their own."""

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision.models import VisionTransformer

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.taps import captured
from vitrine.filters.layers import response_layers
from vitrine.filters.responses import FilterResponses
from vitrine.filters.token_layers import module_of, other_tokens, token_of


def torchvision_vit() -> nn.Module:
    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=3)


def small(name: str, **options: Any) -> nn.Module:
    return timm.create_model(name, num_classes=3, img_size=32, depth=1, embed_dim=24, num_heads=2, **options)


NETWORKS: dict[str, tuple[Any, str, int]] = {
    "torchvision": (torchvision_vit, "encoder.layers.encoder_layer_1.mlp", 1),
    "timm": (lambda: small("vit_tiny_patch16_224", patch_size=8), "blocks.0.mlp", 1),
    "distilled": (lambda: small("deit_tiny_distilled_patch16_224", patch_size=8), "blocks.0", 2),
    "registers": (lambda: small("vit_small_patch14_reg4_dinov2", patch_size=8), "blocks.0.norm1", 5),
    "rotary": (lambda: small("eva02_tiny_patch14_224", patch_size=8), "blocks.0.norm2", 1),
    "without a class token": (lambda: small("vit_base_patch16_siglip_224", patch_size=8), "blocks.0", 0),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("norm", ["l2", "squared"])
def test_responses_of_tokens_apart(name: str, norm: Any) -> None:
    torch.manual_seed(0)
    make, layer, others = NETWORKS[name]
    model = make().eval()
    images = torch.randn(2, 3, 32, 32)
    names = [layer, *(f"{layer}[{token}]" for token in range(others))]
    responses = FilterResponses(FrozenBackbone(model), names, norm, image_size=32)
    assert [one.name for one in responses.layers] == names
    assert [one.spatial for one in responses.layers] == [True] + [False] * others
    with captured(model, [layer]) as outputs, torch.no_grad():
        model(images)
    output = outputs[layer]
    power = 1 if norm == "l2" else 2
    expected = [output[:, others:].norm(dim=1) ** power, *(output[:, i].abs() ** power for i in range(others))]
    expected = [part / part.sum(dim=1, keepdim=True) for part in expected]
    torch.testing.assert_close(responses(images)["features"], torch.cat(expected, dim=1))
    together = FilterResponses(FrozenBackbone(model), [layer], norm, image_size=32, tokens="together")
    whole = output.norm(dim=1) ** power
    torch.testing.assert_close(together(images)["features"], whole / whole.sum(dim=1, keepdim=True))
    assert together.key != FilterResponses(FrozenBackbone(model), [layer], norm, image_size=32).key


def test_all_layers_of_a_transformer() -> None:
    model = torchvision_vit()
    apart, patches, together = (
        response_layers(model, 32, tokens=tokens) for tokens in ("apart", "patches", "together")
    )
    assert [layer.name for layer in patches] == [layer.name for layer in together]
    of_classes = [layer for layer in apart if token_of(layer.name) == 0]
    assert [layer.module for layer in of_classes] == [layer.name for layer in patches if layer.grid is not None]
    assert len(apart) == len(patches) + len(of_classes)
    assert sum(layer.width for layer in apart[:-1]) == apart[-1].start
    # What is saved is the names; they are read as they are.
    assert response_layers(model, 32, [layer.name for layer in apart]) == apart


def test_maps_of_swin_keep_their_channels_last() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1), num_heads=(1, 2), embed_dim=12, num_classes=3
    )
    by_name = {layer.name: layer for layer in response_layers(model, 56)}
    assert (by_name["layers.0.blocks.0.norm1"].axis, by_name["layers.0.blocks.0.norm1"].spatial) == (3, True)
    assert not any("[" in name for name in by_name)


def test_names() -> None:
    assert (module_of("a.b[12]"), token_of("a.b[12]")) == ("a.b", 12)
    assert (module_of("a.b"), token_of("a.b")) == ("a.b", None)
    assert other_tokens(6, ((1, 2), (3, 4))) == [0, 5]
    assert other_tokens(6, None) == []


def test_tokens_that_are_not_there_are_refused() -> None:
    layer = "encoder.layers.encoder_layer_1.mlp"
    with pytest.raises(ValueError, match=r"token 3 is no class or register token; choose encoder.*mlp\[0\]"):
        response_layers(torchvision_vit(), 32, [f"{layer}[3]"])
    with pytest.raises(ValueError, match=r"'conv_proj'.*token 0"):
        response_layers(torchvision_vit(), 32, ["conv_proj[0]"])
    model = small("vit_tiny_patch16_224", patch_size=8, dynamic_img_size=True)
    responses = FilterResponses(FrozenBackbone(model), ["blocks.0"], image_size=32)
    with pytest.raises(ValueError, match=r"'blocks.0' has 37 tokens .* 17 for those of image_size"):
        responses(torch.zeros(1, 3, 48, 48))
