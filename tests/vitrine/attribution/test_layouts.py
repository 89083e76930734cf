"""Patch grids that are found by running against those that are known, and maps drawn over tokens."""

import copy
from typing import Any

import pytest
import pytorch_grad_cam
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from vitrine.attribution.cam.score_cam import ScoreCAM
from vitrine.attribution.cam.upsampled_activation import UpsampledActivation
from vitrine.attribution.layouts import token_grid
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.taps import captured


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def torchvision_vit() -> nn.Module:
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5).eval()
    nn.init.normal_(model.heads.head.weight)
    return model


def timm_vit(**options: Any) -> nn.Module:
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5, "img_size": 32, "patch_size": 8} | options
    model: nn.Module = timm.create_model("vit_tiny_patch16_224", **small).eval()
    return model


def eva(**options: Any) -> nn.Module:
    """Rotary positions, a class token and four registers, as in DINOv3."""
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5, "patch_size": 8} | options
    model: nn.Module = timm.create_model("vit_small_patch16_dinov3", **small).eval()
    return model


CASES: dict[str, tuple[nn.Module, tuple[int, int], int, str]] = {
    "torchvision": (torchvision_vit(), (4, 4), 1, "encoder.layers.encoder_layer_0"),
    "timm": (timm_vit(), (4, 4), 1, "blocks.1"),
    "timm, not square": (timm_vit(img_size=(24, 40)), (3, 5), 1, "blocks.0.norm1"),
    "timm, of any size": (timm_vit(dynamic_img_size=True), (2, 6), 1, "norm"),
    "timm, registers": (timm_vit(reg_tokens=4), (4, 4), 5, "blocks.0"),
    "timm, normalised patches": (timm_vit(pre_norm=True, no_embed_class=True), (4, 4), 1, "blocks.0"),
    "timm, no class token": (timm_vit(class_token=False, global_pool="avg"), (4, 4), 0, "blocks.1"),
    "timm, rotary": (eva(), (3, 2), 5, "blocks.0"),
    "timm, half": (timm_vit(reg_tokens=1).bfloat16(), (4, 4), 2, "blocks.1"),
}


def images_of(model: nn.Module, grid: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 8 * grid[0], 8 * grid[1]).to(next(model.parameters()))


@pytest.mark.parametrize("name", CASES)
def test_grids_are_those_that_are_known(name: str) -> None:
    model, grid, prefix, layer = CASES[name]
    cells = grid[0] * grid[1]
    with eval_guard(model):
        actual = token_grid(model, images_of(model, grid), layer, cells + prefix)
    assert actual.tokens.tolist() == (prefix + torch.arange(cells)).view(grid).tolist()


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_drawn_at_their_places(name: str) -> None:
    model, grid, prefix, layer = CASES[name]
    x = images_of(model, grid)
    maps = UpsampledActivation(model, layer).attribute(x, channel=torch.tensor([[7, 0]] * 2))
    with torch.no_grad(), captured(model, [layer]) as outputs:
        model(x)
    expected = outputs[layer][:, prefix:, [7, 0]].float().transpose(1, 2).unflatten(2, grid)
    expected = F.interpolate(expected, x.shape[2:], mode="bilinear", align_corners=False)[:, :, None]
    torch.testing.assert_close(maps, expected)


OTHERS = {
    GradCAM: pytorch_grad_cam.GradCAM,
    GradCAMPlusPlus: pytorch_grad_cam.GradCAMPlusPlus,
    LayerCAM: pytorch_grad_cam.LayerCAM,
}


@pytest.mark.parametrize("name", ["torchvision", "timm, registers", "timm, not square", "timm, rotary"])
@pytest.mark.parametrize("method", OTHERS)
def test_maps_over_tokens_are_pytorch_grad_cams(method: type[GradCAM], name: str) -> None:
    model, grid, prefix, layer = CASES[name]
    model = copy.deepcopy(model).double()
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.out_features == 5:
            nn.init.normal_(module.weight, std=1e6)  # see test_grad_cams.py
    x = images_of(model, grid)

    def to_grid(tokens: Tensor) -> Tensor:
        return tokens[:, prefix:].transpose(1, 2).unflatten(2, grid)

    theirs = copy.deepcopy(model)
    saved: list[Any] = []
    with OTHERS[method](theirs, [theirs.get_submodule(layer)], reshape_transform=to_grid) as other:
        original = other.get_cam_image

        def keeping(*arguments: Any) -> Any:
            saved.append(original(*arguments))
            return saved[-1]

        other.get_cam_image = keeping
        other(x, [ClassifierOutputTarget(2), ClassifierOutputTarget(4)])
    coarse = torch.as_tensor(saved[0])[:, None]
    expected = F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=False)
    actual = method(model, layer, relu=False).attribute(x, [2, 4])
    torch.testing.assert_close(actual, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_score_cam_over_tokens() -> None:
    model, grid, _, layer = CASES["timm, registers"]
    x = images_of(model, grid)
    maps = ScoreCAM(model, layer, relu=False).attribute(x, 1)
    with torch.no_grad(), captured(model, [layer]) as outputs:
        model(x)
    mean = outputs[layer][:, 5:].mean(dim=2).view(2, 1, *grid)  # a tiny net: all channels weigh almost the same
    torch.testing.assert_close(maps, F.interpolate(mean, x.shape[2:], mode="bilinear"), atol=0.05, rtol=0)
    one_by_one = [ScoreCAM(model, layer, relu=False).attribute(image[None], 1) for image in x]
    torch.testing.assert_close(maps, torch.cat(one_by_one))


class Shuffled(nn.Module):
    """A transformer that knows its tokens in an order of its own, some of which are no patches."""

    def __init__(self, order: list[int], extra: int, *, merge: bool = False, norm: bool = False) -> None:
        super().__init__()
        self.order, self.merge = order, merge
        self.embedding = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8) if norm else nn.Identity()
        self.others = nn.Parameter(torch.randn(1, extra, 8))
        self.dropout, self.mixing, self.head = nn.Dropout(), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embedding(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches, self.others.expand(len(x), -1, -1)], dim=1)[:, self.order]
        if self.merge:
            tokens = tokens.unflatten(1, (-1, 2)).mean(2)
        tokens = self.mixing(self.dropout(self.norm(tokens)))
        output: Tensor = self.head(tokens.tanh().mean(1))
        return output


@settings(max_examples=15)
@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_any_order_is_found(data: st.DataObject, height: int, width: int, extra: int, norm: bool) -> None:
    cells = height * width
    order = data.draw(st.permutations(range(cells + extra)))
    if cells + extra < 2:
        return
    model = Shuffled(order, extra, norm=norm)
    with eval_guard(model):
        actual = token_grid(model, torch.rand(1, 3, 4 * height, 4 * width), "mixing", cells + extra)
    assert actual.tokens.flatten().tolist() == [order.index(cell) for cell in range(cells)]


@pytest.mark.parametrize("method", [GradCAM, ScoreCAM, CAM])
def test_merged_tokens_are_refused(method: type[GradCAM]) -> None:
    model = Shuffled(list(range(16)), 0, merge=True)
    with pytest.raises(ValueError, match=r"Layer 'mixing' gives 8 tokens that have no place.*such as 'embedding'"):
        method(model, "mixing").attribute(torch.rand(2, 3, 16, 16))


def test_dropped_patches_are_refused() -> None:
    model = Shuffled([3, 1, 0, 5], 0)
    with pytest.raises(ValueError, match="gives 4 tokens that have no place"):
        GradCAM(model, "mixing").attribute(torch.rand(2, 3, 16, 16))


def test_a_sequence_that_is_no_image_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(2), nn.Linear(64, 6), nn.Flatten(), nn.Linear(18, 5))
    with pytest.raises(ValueError, match=r"Layer '1' gives 3 tokens .* a map \(B, C, h, w\)\.$"):
        GradCAM(model, "1").attribute(torch.rand(2, 3, 8, 8))


def test_tokens_behind_the_last_attention_are_refused() -> None:
    model, grid, _, _ = CASES["timm, registers"]
    x = images_of(model, grid)
    with pytest.raises(ValueError, match=r"Behind layer 'blocks\.1' the class depends on the class token alone"):
        GradCAM(model, "blocks.1").attribute(x)
    assert GradCAM(model, "blocks.1.norm1", relu=False).attribute(x).any()


class Mixed(nn.Module):
    """The first tokens that a module gives have already looked at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.between = nn.Conv2d(3, 8, 4, stride=4), nn.Identity()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x).flatten(2).transpose(1, 2)
        output: Tensor = self.head(self.between(tokens + 0.01 * tokens.mean(1, keepdim=True)).tanh().mean(1))
        return output


def test_mixed_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="gives 16 tokens that have no place"):
        GradCAM(Mixed(), "between").attribute(torch.rand(2, 3, 16, 16))
