"""Layers that are refused before masks are optimised, and what is named in place of them."""

import re
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.helpers.token_networks import timm_vit
from vitrine.attribution import InversionMask
from vitrine.attribution.inversion import layers_that_work, refusal_of_layers, settings_of, tried
from vitrine.attribution.inversion.layers import InversionLayers
from vitrine.attribution.inversion.settings import PAPER, SMOOTH
from vitrine.backbones.guard import eval_guard
from vitrine.core.options import OptionError

FEW: dict[str, Any] = {"inversion_steps": 2, "class_steps": 2}
CNN = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
).eval()  # fmt: skip


def network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    if name == "cnn":
        return CNN, torch.zeros(1, 3, 8, 8)
    if name == "swin":
        small: dict[str, Any] = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "window_size": 2}
        model = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, num_classes=5, **small)
        return model.eval(), torch.zeros(1, 3, 64, 64)
    return timm_vit(), torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "inversion", "mask", "option", "told"),
    [
        ("cnn", "7", (), "inversion_layer", "no layer '7'"),
        ("cnn", None, ("x",), "mask_layers", "no layer 'x'"),
        ("cnn", None, ("4",), "mask_layers", "one cell"),
        ("cnn", None, ("6",), "mask_layers", "no places in the image"),
        ("cnn", "0", ("2",), "mask_layers", "'2' comes after the inverted layer '0'"),
        ("vit", "blocks.9", (), "inversion_layer", "no layer 'blocks.9'"),
        ("vit", None, ("blocks.0.attn.q_norm",), "mask_layers", "each head of attention"),
        ("vit", None, ("fc_norm",), "mask_layers", "no places in the image"),
        ("vit", "blocks.0", ("blocks.1",), "mask_layers", "comes after"),
        ("swin", "layers.0.blocks.0.attn", (), "inversion_layer", "no tensor with a part for each image"),
    ],
)
def test_what_is_refused_names_layers_that_work(
    name: str, inversion: str | None, mask: tuple[str, ...], option: str, told: str
) -> None:
    model, images = network(name)
    with eval_guard(model), pytest.raises(OptionError, match=re.escape(told)) as refused:
        layers_that_work(model, images, PAPER, inversion, mask)
    assert refused.value.name == option
    named = re.findall(r"'([^']+)'", refused.value.wanted.partition(", which works")[0])
    given = {"inversion": inversion, "mask": mask} if option == "mask_layers" else {"inversion": None, "mask": ()}
    given |= {"mask": tuple(named)} if option == "mask_layers" else {"inversion": named[0]}
    with eval_guard(model):
        assert layers_that_work(model, images, PAPER, **given) is not None


def test_layers_before_and_at_the_inverted_one_are_taken() -> None:
    model, images = network("vit")
    with eval_guard(model):
        for mask in ("blocks.0", "patch_embed.proj", "blocks.1"):
            layers = layers_that_work(model, images, PAPER, "blocks.1", (mask,))
            assert layers == InversionLayers("blocks.1", (mask,))
            assert tried(model, images, layers, settings_of("paper", **FEW))


def test_a_layer_beside_the_way_is_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.aside, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            maps = self.body(x).relu()
            self.aside(maps)
            logits: Tensor = self.head(maps.mean((2, 3)))
            return logits

    model, images = Aside().eval(), torch.zeros(1, 3, 8, 8)
    with eval_guard(model):
        refusal = refusal_of_layers(model, images, InversionLayers("body", ("aside",)), PAPER)
        assert refusal is not None
        assert "do not depend on layer 'aside'" in refusal.reason
        assert not tried(model, images, InversionLayers("body", ("aside",)), PAPER)


def test_a_gate_needs_places_at_the_inverted_layer() -> None:
    model, images = network("cnn")
    layers = InversionLayers("6", ("2",))
    with eval_guard(model):
        assert refusal_of_layers(model, images, layers, PAPER) is None
        refusal = refusal_of_layers(model, images, layers, SMOOTH)
    assert refusal is not None
    assert refusal.option == "inversion_layer"


def test_the_method_names_its_own_option() -> None:
    model, images = network("vit")
    with pytest.raises(OptionError, match=r"layer is 'blocks.0.attn.k_norm'; give 'blocks.1.norm1', which works"):
        InversionMask(model, "blocks.0.attn.k_norm", **FEW).attribute(images)


def test_a_network_without_maps_says_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    with eval_guard(model), pytest.raises(ValueError, match="No layer of Sequential gives a map"):
        layers_that_work(model, torch.zeros(1, 3, 8, 8), PAPER)
