"""Networks that a user has compiled are explained as they are without torch.compile."""

from typing import Any

import pytest
import torch
from torch import nn

from vitrine.attribution import (
    CAM,
    LRP,
    ExcitationBackprop,
    GradCAM,
    GuidedBackprop,
    InversionMask,
    Occlusion,
    Saliency,
)
from vitrine.backbones.compiled import plain_name, uncompiled
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer, MuLassoExplainer, SRAEExplainer, SRAEOptions


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def compiled(network: nn.Module) -> Any:
    return torch.compile(network)


def test_a_backbone_has_the_layers_and_logits_of_the_network_itself() -> None:
    plain, images = network(), torch.rand(2, 3, 8, 8)
    backbone = FrozenBackbone(compiled(plain))
    assert backbone.digest == FrozenBackbone(plain).digest
    assert backbone.options.name == FrozenBackbone(plain).options.name
    logits, taps = backbone(images, taps=["1", "_orig_mod.1"])
    assert torch.equal(logits, plain(images))
    assert torch.equal(taps["_orig_mod.1"], plain[:2](images))
    assert torch.equal(taps["1"], plain[:2](images))


@pytest.mark.parametrize("layer", ["1", "_orig_mod.1"])
def test_methods_give_the_maps_of_the_network_itself(layer: str) -> None:
    plain, images = network(), torch.rand(2, 3, 8, 8)
    wrapped = compiled(plain)
    for method in (GradCAM, GuidedBackprop):
        expected = method(plain, layer="1").attribute(images, 2)
        assert torch.equal(method(wrapped, layer=layer).attribute(images, 2), expected)
    assert torch.equal(GradCAM(wrapped, layer=plain[1]).attribute(images, 2), GradCAM(plain, "1").attribute(images, 2))


def test_a_network_that_was_compiled_in_place() -> None:
    plain, images = network(), torch.rand(1, 3, 8, 8)
    expected = FrozenBackbone(plain)(images, taps=["1"])
    plain.compile()
    found = FrozenBackbone(plain)(images, taps=["1"])
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.taps["1"], expected.taps["1"])


def test_a_network_with_a_compiled_part_is_refused() -> None:
    mixed = nn.Sequential(nn.Sequential(compiled(nn.Conv2d(3, 4, 3))), nn.Flatten())
    with pytest.raises(ValueError, match=r"layer '0\.0' is compiled"):
        uncompiled(mixed)
    with pytest.raises(ValueError, match=r"layer '0\.0' is compiled"):
        FrozenBackbone(mixed)
    with pytest.raises(ValueError, match=r"layer '0\.0' is compiled"):
        GuidedBackprop(mixed)


def test_channels_last_changes_no_map() -> None:
    plain, images = network().double(), torch.rand(2, 3, 8, 8).double()
    expected = GradCAM(plain, "1").attribute(images, 1)
    last = network().double().to(memory_format=torch.channels_last)
    found = GradCAM(last, "1").attribute(images.to(memory_format=torch.channels_last), 1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_only_the_prefix_is_taken_off() -> None:
    assert plain_name("features._orig_mod.3") == "features._orig_mod.3"


SCRIPTS: dict[str, Any] = {
    "scripted": torch.jit.script,
    "traced": lambda model: torch.jit.trace(model, torch.rand(2, 3, 8, 8)),
    "frozen": lambda model: torch.jit.freeze(torch.jit.script(model.eval())),
}
SEEN = r"TorchScript model .* shows none; give the nn.Module before torch.jit"


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", SCRIPTS)
def test_torchscript_shows_no_layers(kind: str) -> None:
    plain, images = network().eval(), torch.rand(2, 3, 8, 8)
    script = SCRIPTS[kind](plain)
    expected = Occlusion(plain, None, 4, 4).attribute(images, 1)
    torch.testing.assert_close(Occlusion(script, None, 4, 4).attribute(images, 1), expected)
    for method in (CAM, GradCAM, GuidedBackprop, ExcitationBackprop, InversionMask, LRP):
        with pytest.raises(ValueError, match=rf"{method.__name__} .*{SEEN}"):
            method(script).attribute(images, 1)
    if kind != "frozen":
        with pytest.raises(ValueError, match=SEEN):
            Saliency(script, "1").attribute(images, channel=0)
    backbone = FrozenBackbone(script)
    for make in (MuLassoExplainer, InversionExplainer, lambda one: SRAEExplainer(one, SRAEOptions("1", image_size=8))):
        with pytest.raises(ValueError, match=SEEN):
            make(backbone)
