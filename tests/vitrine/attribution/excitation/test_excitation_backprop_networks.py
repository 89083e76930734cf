"""Published architectures with random weights: the mass that arrives, and the model left as it was."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torchvision
from torch import Tensor, nn

from vitrine.attribution import ExcitationBackprop

NETWORKS = {
    "resnet18": 1.0,
    "squeezenet1_0": 1.0,
    "googlenet": 1.0,
    "densenet121": 1.0,
    "vgg11_bn": 1.0,
    "mobilenet_v2": None,
    "shufflenet_v2_x0_5": None,
    "mobilenet_v3_small": None,
    "efficientnet_b0": None,
    "convnext_tiny": None,
    "swin_t": None,
    "swin_v2_t": None,
    "vit": None,
}
"""The mass that arrives; None where weighted layers read negative values, at which some of it gets lost."""


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "vit":
        vit = torchvision.models.VisionTransformer(64, 8, 2, 2, 32, 64, num_classes=10)
        nn.init.normal_(vit.get_parameter("heads.head.weight"))  # of zeros else
        return vit
    arguments = {"init_weights": False} if name in {"googlenet", "vgg11_bn"} else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=10, **arguments)
    return model


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Fails where what is done within leaves a trace on the model or on the random state."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    try:
        yield
    finally:
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == training
        assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert torch.equal(torch.get_rng_state(), random)


def raising(images: Tensor) -> Callable[[Tensor], Tensor]:
    raise RuntimeError(f"after {tuple(images.shape)}")


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_explained_and_left_as_they_were(name: str) -> None:
    model, images = build(name), torch.rand(2, 3, 64, 64)
    with unchanged(model), torch.no_grad():
        target = copy.deepcopy(model).eval()(images).argmax(dim=1)  # one that is not cut off by a last ReLU
        maps = ExcitationBackprop(model).attribute(images, target)
        with pytest.raises(ValueError, match="target 10 is out of range"):
            ExcitationBackprop(model, contrastive=True).attribute(images, 10)
    assert maps.shape == (2, 1, 64, 64)
    assert maps.min() >= 0
    mass = maps.sum((1, 2, 3))
    if NETWORKS[name] is not None:
        torch.testing.assert_close(mass, torch.ones(2), atol=1e-5, rtol=0)
    assert (mass > 0.01).all()
    assert (mass < 1 + 1e-5).all()


def test_a_model_that_fails_half_way_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = build("resnet18"), torch.rand(1, 3, 64, 64)
    monkeypatch.setattr(model.get_submodule("layer3.1"), "forward", raising)
    for layer in (None, "layer2"):
        with unchanged(model), pytest.raises(RuntimeError, match="after"):
            ExcitationBackprop(model, layer).attribute(images, channel=None if layer is None else 0)


def test_layers_of_a_network_by_name_and_by_module() -> None:
    model, images = build("resnet18"), torch.rand(2, 3, 64, 64)
    for layer in ("layer3", "layer1.0.relu", "layer2.0.downsample.1"):
        with unchanged(model):
            maps = ExcitationBackprop(model, layer).attribute(images, channel=5)
        torch.testing.assert_close(maps.sum((1, 2, 3)), torch.ones(2), atol=1e-5, rtol=0)
        by_module = ExcitationBackprop(model, model.get_submodule(layer)).attribute(images, channel=5)
        torch.testing.assert_close(by_module, maps)


def test_contrastive_mass_of_a_network_is_what_both_kinds_leave() -> None:
    model, images = build("resnet18"), torch.rand(1, 3, 64, 64)
    maps = ExcitationBackprop(model, contrastive=True).attribute(images, 3)
    assert maps.min() < 0 < maps.max()
    torch.testing.assert_close(maps.sum(), torch.tensor(0.0), atol=1e-5, rtol=0)


TRANSFORMERS = {
    "vit_small_patch14_reg4_dinov2": {"img_size": 28, "depth": 2},
    "eva02_tiny_patch14_224": {"img_size": 28, "depth": 2},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 2},
    "vit_base_patch16_siglip_224": {"img_size": 32, "depth": 2, "embed_dim": 64, "num_heads": 4},
    "cait_xxs24_224": {"img_size": 32, "depth": 2},
    "xcit_nano_12_p16_224": {"img_size": 32, "depth": 2},
    "convnextv2_atto": {},
    "efficientvit_b0": {},
}


def unfused(model: nn.Module) -> nn.Module:
    """A copy whose attention is written by hand, where it has both forms."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            vars(module)["fused_attn"] = False
    return model


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **TRANSFORMERS[name])
    images = torch.randn(2, 3, *[TRANSFORMERS[name].get("img_size", 64)] * 2)
    with torch.no_grad():
        best = copy.deepcopy(model).eval()(images).topk(2).indices
    for contrastive in (False, True):
        with unchanged(model):
            maps = ExcitationBackprop(model, contrastive=contrastive).attribute(images, best)
        assert maps.isfinite().all()
        assert maps.abs().sum() > 0
        singly = [
            ExcitationBackprop(unfused(model), contrastive=contrastive).attribute(images[i : i + 1], best[i : i + 1])
            for i in (0, 1)
        ]
        torch.testing.assert_close(maps, torch.cat(singly), atol=1e-5, rtol=1e-3)
        mass = maps.sum((-3, -2, -1))
        assert contrastive or ((maps >= 0).all() and (mass[:, 0] > 0.01).all() and (mass < 1 + 1e-5).all())
