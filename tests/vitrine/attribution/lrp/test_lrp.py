"""LRP: the promise of gradient × input, K targets, layers, conditions, and equality with zennit and lxt."""

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vitrine.attribution import LRP, relevance_maps
from vitrine.attribution.lrp.composites import Composite, composite_named
from vitrine.attribution.lrp.weighted_rules import Epsilon, ZBox, ZPlus


def net(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, padding=1, bias=bias), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(6, 8, 3, bias=bias), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    layers += [nn.Linear(8, 9, bias=bias), nn.Dropout(), nn.ReLU(), nn.Linear(9, 5, bias=bias)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1, 1)
            layer.running_mean, layer.running_var = torch.randn(len(layer.weight)), torch.rand(len(layer.weight)) + 0.5
    return nn.Sequential(*layers).double().eval()


IMAGES = torch.randn(2, 3, 10, 10, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("build", [lambda: net(bias=False), net, lambda: torchvision.models.resnet18().double().eval()])
def test_of_a_rectifier_network_epsilon_is_gradient_times_input(build: Any) -> None:
    model, images = build(), IMAGES
    if isinstance(model, torchvision.models.ResNet):
        images = torch.randn(2, 3, 32, 32, dtype=torch.double)
    pixels = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(pixels)[:, 1].sum(), pixels)
    expected = gradient * images
    maps = LRP(model, composite="epsilon").attribute(images, target=1)
    assert float((maps - expected).abs().max() / expected.abs().max()) < 1e-5


def test_several_targets_and_channels_are_one_by_one() -> None:
    model = net()
    for composite in ("epsilon", "epsilon_gamma_box", "alpha2_beta1"):
        method = LRP(model, composite=composite, layer="4")
        for kind, count in (("target", 5), ("channel", 8)):
            indices = torch.tensor([[0, 3], [1, count - 1]])
            together = method.attribute(IMAGES, **dict[str, Any]({kind: indices}))
            for image, column in ((0, 1), (1, 0)):
                alone = method.attribute(
                    IMAGES[image : image + 1], **dict[str, Any]({kind: int(indices[image, column])})
                )
                torch.testing.assert_close(together[image, column], alone[0])


def test_a_channel_starts_with_its_activation_map() -> None:
    model = net(bias=False)
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.running_mean)  # type: ignore[arg-type]
    total = LRP(model, layer="6", epsilon=0.0).attribute(IMAGES, channel=2).sum(dim=(1, 2, 3))
    torch.testing.assert_close(total, model[:7](IMAGES)[:, 2].sum(dim=(1, 2)).detach())


def test_relevance_at_a_layer_sums_to_the_logit_and_is_what_goes_on() -> None:
    model = net(bias=False)
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.zeros_(layer.running_mean)  # type: ignore[arg-type]
    method = LRP(model, epsilon=0.0)
    logits = model(IMAGES).detach()
    for name in ("2", "3", "6", "8", "11"):
        found = method.relevance_at(name, IMAGES, target=3)
        torch.testing.assert_close(found.flatten(1).sum(dim=1), logits[:, 3], rtol=1e-6, atol=1e-9)
    assert method.relevance_at("6", IMAGES, torch.tensor([[1, 2], [0, 4]])).shape == (2, 2, 8, 3, 3)
    torch.testing.assert_close(
        method.relevance_at("11", IMAGES, 3), model[:12](IMAGES).detach() * model.get_parameter("12.weight")[3].detach()
    )


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_gamma_box", "epsilon_plus"])
def test_conditions_on_all_channels_add_up_to_the_class(composite: Any) -> None:
    method = LRP(net(), composite=composite)
    conditional = method.conditional(IMAGES, 1, "6", range(8))
    assert conditional.shape == (2, 8, 3, 10, 10)
    torch.testing.assert_close(conditional.sum(dim=1), method.attribute(IMAGES, 1))
    assert conditional[:, 0].abs().sum() != conditional[:, 1].abs().sum()
    with pytest.raises(ValueError, match="channel 8 is out of range"):
        method.conditional(IMAGES, 1, "6", [8])
    with pytest.raises(ValueError, match="dimension 4"):
        method.conditional(IMAGES, 1, "6", [0], dim=4)
    with pytest.raises(ValueError, match="one target"):
        method.conditional(IMAGES, torch.tensor([[1, 2], [1, 2]]), "6", [0])


def test_outputs_of_a_function_such_as_x_features() -> None:
    model = net()
    body, head = model[:9], model[9:]
    composite = composite_named("epsilon_plus")
    maps, outputs, vectors = relevance_maps(
        lambda x: (head(body(x)), body(x)), IMAGES, torch.tensor([[1], [1]]), composite=composite, has_aux=True
    )
    torch.testing.assert_close(maps[:, 0], LRP(model, composite=composite).attribute(IMAGES, 1))
    torch.testing.assert_close(outputs, model(IMAGES))
    assert vectors.shape == (2, 8)
    with pytest.raises(ValueError, match="indices"):
        relevance_maps(model, IMAGES, torch.tensor([1, 2]), composite=composite)


def test_an_own_composite() -> None:
    composite = Composite(ZPlus(), Epsilon(0.0), ZBox(-3.0, (3.0, 4.0, 5.0)))
    maps = LRP(net(), composite=composite).attribute(IMAGES, 1)
    assert maps.isfinite().all()
    assert not torch.equal(maps, LRP(net(), composite="epsilon_gamma_box").attribute(IMAGES, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_in_float32(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    maps = LRP(model, composite="epsilon_plus").attribute(IMAGES.to(dtype), 1)
    assert maps.dtype == torch.float32
    full = LRP(net().to(dtype).float(), composite="epsilon_plus").attribute(IMAGES.to(dtype).float(), 1)
    torch.testing.assert_close(maps, full, rtol=1e-3, atol=1e-5)


def zennit_maps(model: nn.Module, composite: Any, images: Tensor) -> Tensor:
    from zennit.attribution import Gradient

    with Gradient(model=model, composite=composite) as attributor:
        output, relevance = attributor(images.clone(), lambda out: F.one_hot(torch.tensor([1, 1]), out.shape[1]) * out)
    del output
    return relevance.detach()


@pytest.mark.parametrize("architecture", ["vgg11_bn", "resnet18", "resnet50"])
@pytest.mark.parametrize("name", ["epsilon", "epsilon_gamma_box", "epsilon_plus", "alpha2_beta1"])
def test_equals_zennit(architecture: str, name: Any) -> None:
    from zennit import composites, rules
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer
    from zennit.types import Convolution

    torch.manual_seed(0)
    if architecture == "resnet50":
        model: nn.Module = torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=5)
    elif architecture == "resnet18":
        model = torchvision.models.resnet18(num_classes=5)
    else:
        model = nn.Sequential(torchvision.models.vgg11_bn().features, nn.Flatten(), nn.Linear(512, 5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12  # zennit leaves a norm by √(1 + ε) behind where it has merged one
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    model = model.double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.double)
    ours = LRP(model, composite=name, epsilon=1e-6)
    if name == "epsilon_gamma_box":
        ours = LRP(model, composite=replace(composite_named(name), first=ZBox(-4.0, 4.0)))
    maps = ours.attribute(images, target=1)
    canonizers = [ResNetCanonizer() if "resnet" in architecture else VGGCanonizer()]
    theirs = {
        "epsilon": lambda: composites.LayerMapComposite(
            [*composites.layer_map_base(), ((Convolution, nn.Linear), rules.Epsilon(1e-6))], canonizers=canonizers
        ),
        "epsilon_gamma_box": lambda: composites.EpsilonGammaBox(-4.0, 4.0, canonizers=canonizers),
        "epsilon_plus": lambda: composites.EpsilonPlus(canonizers=canonizers),
        "alpha2_beta1": lambda: composites.EpsilonAlpha2Beta1(canonizers=canonizers),
    }[name]()
    expected = zennit_maps(model, theirs, images)
    assert float((maps - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.fixture
def lxt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Rules of lxt; its models, which need an earlier transformers, are left out."""
    models = types.ModuleType("lxt.efficient.models")
    models.get_default_map = lambda _: {}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lxt.efficient.models", models)
    from lxt.efficient import patches

    yield patches
    for name in [name for name in sys.modules if name.startswith("lxt")]:
        del sys.modules[name]


class Block(nn.Module):
    """A block of a vision transformer whose rules can be replaced by those of lxt."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.lxt: Any = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm1(x) if self.lxt is None else self.lxt.layer_norm_forward(self.norm1, x)
        q, k, v = self.qkv(normalised).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.lxt is None:
            mixed = self.attend(q, k, v)
        else:
            mixed = self.lxt.wrap_attention_forward(lambda _, q, k, v: self.attend(q, k, v))(self, q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        hidden = self.up(self.norm2(x) if self.lxt is None else self.lxt.layer_norm_forward(self.norm2, x))
        active = F.gelu(hidden) if self.lxt is None else self.lxt.identity_rule_implicit(F.gelu, hidden)
        return x + self.down(active)


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.cls, self.position = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.Sequential(*(Block(16, 2) for _ in range(3)))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1) + self.position
        return self.head(self.blocks(tokens)[:, 0])


def test_attn_equals_lxt(lxt: Any) -> None:
    torch.manual_seed(0)
    model, images = ViT().double().eval(), torch.randn(2, 3, 16, 16, dtype=torch.double)
    maps = LRP(model, composite="attn").attribute(images, target=2)
    for block in model.blocks:
        block.lxt = lxt
    pixels = images.clone().requires_grad_()
    model(pixels)[:, 2].sum().backward()
    expected = pixels.grad * images  # type: ignore[operator]
    assert float((maps - expected).abs().max() / expected.abs().max()) < 1e-5


def test_constant_attention_equals_lxt(lxt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=4).double().eval()
    nn.init.normal_(model.heads.head.weight)
    images = torch.randn(2, 3, 32, 32, dtype=torch.double)
    maps = LRP(model, composite="attn", attention="constant").attribute(images, target=2)
    for kind, forward, kept in (
        (nn.GELU, lxt.non_linear_forward, True),
        (nn.LayerNorm, lxt.layer_norm_forward, False),
        (nn.MultiheadAttention, lxt.cp_multi_head_attention_forward, True),
    ):
        if kept:
            monkeypatch.setattr(kind, "original_forward", kind.forward, raising=False)
        monkeypatch.setattr(kind, "forward", forward)
    pixels = images.clone().requires_grad_()
    model(pixels)[:, 2].sum().backward()
    expected = pixels.grad * images  # type: ignore[operator]
    assert float((maps - expected).abs().max() / expected.abs().max()) < 1e-5
