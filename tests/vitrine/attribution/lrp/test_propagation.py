"""Relevance is conserved on today's networks, and reaches the pixels by way of what prepares them."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tests.helpers.lrp_conservation import shares_of_logit
from vitrine.attribution import LRP
from vitrine.attribution.lrp.composites import FirstRule, composite_named

tv: Any = torchvision.models

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (tv.resnet18, 32),
    "resnet50": (lambda: tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1]), 32),
    "densenet": (lambda: tv.DenseNet(8, (2, 2), 16), 32),
    "mobilenet_v2": (tv.mobilenet_v2, 32),
    "mobilenet_v3": (tv.mobilenet_v3_small, 32),
    "efficientnet": (tv.efficientnet_b0, 32),
    "convnext": (lambda: timm.create_model("convnext_atto"), 32),
    "convnextv2": (lambda: timm.create_model("convnextv2_atto"), 32),
    "regnet": (tv.regnet_y_400mf, 32),
    "vit": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=3), 32),
    "torchvision vit": (lambda: tv.VisionTransformer(32, 16, 2, 4, 32, 64), 32),
    "deit": (lambda: timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=3), 32),
    "swin": (lambda: tv.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=9), 48),
    "swin_v2": (
        lambda: tv.SwinTransformer(
            [4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=9,
            block=tv.swin_transformer.SwinTransformerBlockV2, downsample_layer=tv.swin_transformer.PatchMergingV2,
        ),
        48,
    ),
    "maxvit": (lambda: timm.create_model("maxvit_rmlp_pico_rw_256", img_size=64), 64),
    "dinov2 with registers": (
        lambda: timm.create_model("vit_small_patch14_reg4_dinov2", img_size=28, depth=2, num_classes=9), 28
    ),
    "eva02": (lambda: timm.create_model("eva02_tiny_patch14_224", img_size=28, depth=3), 28),
    "xcit": (lambda: timm.create_model("xcit_nano_12_p16_224", depth=2, num_classes=9), 64),
    "unfused attention": (lambda: _unfused(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2)), 32),
}  # fmt: skip

CONSTANTS = (
    "bias",
    "pos_embed.token_projection.weight",
    "running_mean",
    "cls_token",
    "class_token",
    "pos_embed",
    "pos_embedding",
    "reg_token",
    "dist_token",
    "beta",
)


def _unfused(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            vars(module)["fused_attn"] = False
    return model


def homogeneous(model: nn.Module) -> nn.Module:
    """The model in float64 without added constants, and with random weights where it begins with zeros."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(CONSTANTS) and "bias_table" not in name and "rope" not in name:
            value.data.zero_()
        elif value.is_floating_point() and value.ndim > 1 and not value.any():
            nn.init.normal_(value.data, std=0.1)
        elif name.endswith(("gamma", "gamma_1", "gamma_2", "ls1", "ls2", "running_var")):
            nn.init.uniform_(value.data, 0.5, 1.5)
        value.requires_grad = False
    return model.double().eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_sums_to_the_logit(name: str) -> None:
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    model = homogeneous(build())
    images = 3 * torch.randn(2, 3, size, size, dtype=torch.double)
    with torch.no_grad():
        logits = model(images)
    scale = logits.abs().max()
    assert scale > 0
    # A softmax is no homogeneous function, so that its Taylor expansion has a constant term, which absorbs relevance.
    maps = LRP(model, attention="constant").attribute(images, target=torch.tensor([[1, 4], [2, 3]]))
    assert maps.shape == (2, 2, 3, size, size)
    expected = logits.gather(1, torch.tensor([[1, 4], [2, 3]]))
    torch.testing.assert_close(maps.sum(dim=(2, 3, 4)), expected, rtol=1e-9, atol=1e-9 * float(scale))
    assert LRP(model, composite="attn").attribute(images, 1).isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "densenet", "regnet"])
@pytest.mark.parametrize("composite", ["epsilon_gamma_box", "epsilon_plus"])
def test_composites_conserve_relevance_on_rectifier_networks(name: str, composite: Any) -> None:
    torch.manual_seed(0)
    model, images = homogeneous(NETWORKS[name][0]()), torch.randn(1, 3, 32, 32, dtype=torch.double)
    with torch.no_grad():
        logit = model(images)[:, 1]
    torch.testing.assert_close(
        LRP(model, composite=composite).attribute(images, 1).sum(dim=(1, 2, 3)), logit, rtol=1e-3, atol=1e-4
    )


class Attending(nn.Module):
    """A block of attention, with modules before and after its softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.scores = nn.LayerNorm(8), nn.Linear(8, 24, bias=False), nn.Identity()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return x + self.softmax(self.scores(q @ k.transpose(1, 2))) @ v


def test_what_softmaxes_absorb_is_the_rest() -> None:
    torch.manual_seed(0)
    embed, head = nn.Linear(16, 8, bias=False), nn.Linear(24, 2)
    model = homogeneous(nn.Sequential(nn.Flatten(2), embed, Attending(), Attending(), nn.Flatten(), head))
    images = torch.randn(2, 3, 4, 4, dtype=torch.double)
    method = LRP(model, composite="attn")
    total = method.attribute(images, 1).flatten(1).sum(dim=1)
    for block in "23":
        below, above = (method.relevance_at(f"{block}.{name}", images, 1) for name in ("scores", "softmax"))
        total += (above - below).flatten(1).sum(dim=1)
    torch.testing.assert_close(total, model(images)[:, 1], rtol=1e-9, atol=1e-9)


# XCiT's batch norms, whose biases are summands here, would take torch's own gradient, which is wrong for one image of it.
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "xcit"])
def test_a_logit_is_what_pixels_constants_and_softmaxes_get(name: str) -> None:
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    model = _unfused(build()).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # what it takes off is a summand too, without a name of its own
            nn.init.uniform_(module.weight, 0.5, 1.5)
    for parameter in model.parameters():
        if float(parameter.detach().abs().max()) < 1e-3:  # biases, heads and layer scales that start at 0
            nn.init.normal_(parameter, std=0.2)
    images = torch.randn(1, 3, size, size, dtype=torch.double)
    # Of torchvision's attention the softmax is not seen alone.
    composite = composite_named("attn", attention="constant" if name == "torchvision vit" else "attn")
    logit, pixels, constants, softmaxes = shares_of_logit(model, images, composite)
    scale = max(abs(logit), abs(pixels), abs(constants))
    assert abs(constants) > 1e-6 * scale
    assert abs(logit - pixels - constants - softmaxes) < 1e-7 * scale
    mapped = float(LRP(model, composite=composite).attribute(images, 1).sum())
    assert mapped == pytest.approx(pixels, abs=1e-7 * scale)


def head(channels: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


class Prepared(nn.Module):
    def __init__(self, prepare: Callable[[Tensor], Tensor], channels: int = 3) -> None:
        super().__init__()
        self.prepare, self.head = prepare, head(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.prepare(x))


@pytest.mark.parametrize(
    "prepare",
    [
        lambda x: (x - 0.4) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1),
        lambda x: x.mul(2).sub_(1),
        lambda x: F.batch_norm(x, torch.ones(3), torch.full((3,), 4.0)),
        lambda x: F.dropout(x.to(torch.float64).float(), training=False),
        lambda x: 1 - x,
    ],
)
def test_shifts_and_scales_before_the_first_layer_pass_its_relevance(prepare: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, images = Prepared(prepare).eval(), torch.rand(2, 3, 8, 8)
    firsts: tuple[FirstRule, ...] = ("flat", "box", "w_square")
    for first in firsts:
        found = LRP(model, composite="epsilon_plus", first=first).attribute(images, 1)
        torch.testing.assert_close(
            found, LRP(model.head, composite="epsilon_plus", first=first).attribute(prepare(images), 1)
        )


def test_pixels_that_are_rearranged_or_read_twice() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    model = Prepared(lambda x: torch.cat([x[:, 2:], x.flip(1)[:, 1:]], dim=1)).eval()  # channels 2, 1, 0
    direct = LRP(model.head, composite="epsilon_gamma_box").attribute(images.flip(1), 1).flip(1)
    torch.testing.assert_close(LRP(model, composite="epsilon_gamma_box").attribute(images, 1), direct)


def test_pixels_that_skip_the_first_layer_get_relevance_by_their_values() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.conv(x) + x).mean(dim=(2, 3)))

    torch.manual_seed(0)
    model, images = Skip().double().eval(), torch.rand(2, 3, 4, 4, dtype=torch.double)
    firsts: tuple[FirstRule, ...] = ("composite", "flat", "box")
    for first in firsts:
        maps = LRP(model, composite="epsilon", first=first).attribute(images, 1)
        torch.testing.assert_close(maps.sum(dim=(1, 2, 3)), model(images)[:, 1].detach(), rtol=1e-4, atol=1e-6)
    by_values = LRP(model, composite="epsilon", epsilon=0.0).attribute(images, 1)
    plain = images * torch.autograd.functional.jacobian(lambda x: model(x)[:, 1].sum(), images)
    torch.testing.assert_close(by_values, plain)


def test_pixels_changed_in_place_otherwise_are_refused_where_the_first_layer_has_a_rule() -> None:
    model, images = Prepared(lambda x: x.relu_()).eval(), torch.rand(1, 3, 8, 8)
    assert LRP(model, composite="epsilon").attribute(images, 1).any()
    with pytest.raises(ValueError, match="in place before the first layer"):
        LRP(model, composite="epsilon_gamma_box").attribute(images, 1)
