"""X-features of transformers' tokens: heads applied by hand, maps by excitation backprop of the whole, batches, folders."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrine
from tests.helpers.token_networks import TokensFirst, timm_vit
from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.taps import captured
from vitrine.explainers import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.heads import SeparateHeads

CLASSES = ["ant", "bee", "cat", "dog", "elk"]
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
TARGETS = [0, 2, 0]
POOLINGS = ["cls", "mean_tokens", "tokens"]


def make(model: nn.Module, pooling: Any, layer: str = "norm", **options: Any) -> SRAEExplainer:
    torch.manual_seed(1)
    settings: dict[str, Any] = {"num_features": 3, "hidden": (7,), "explained_classes": [0, 2], "image_size": 32}
    return SRAEExplainer(FrozenBackbone(model), SRAEOptions(layer, pooling, **settings | options))


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm_vit(**options)


class ByHand(nn.Module):
    """X-features of the tokens of ``norm``, of which the first stands for the class and the next for registers."""

    def __init__(self, model: nn.Module, encoder: nn.Module, pooling: str, registers: int) -> None:
        super().__init__()
        self.model, self.encoder, self.pooling, self.others = model, encoder, pooling, 1 + registers

    def forward(self, images: Tensor) -> Tensor:
        """(B, n) x-features."""
        with captured(self.model, ["norm"]) as taps:
            self.model(images)
        tokens = taps["norm"]
        if self.pooling == "cls":
            return self.encoder(tokens[:, 0])
        if self.pooling == "mean_tokens":
            return self.encoder(tokens[:, self.others :].mean(dim=1))
        each = [self.encoder(tokens[:, index]) for index in range(self.others, tokens.shape[1])]
        return torch.stack(each, dim=1).mean(dim=1)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("registers", [0, 2])
def test_heads_and_maps_by_hand(pooling: str, registers: int) -> None:
    model = network(reg_tokens=registers)
    explainer = make(model, pooling)
    explanation = explainer.explain(IMAGES, TARGETS)
    assert isinstance(explainer.heads, SeparateHeads)
    assert explanation.heatmaps.abs().sum() > 0
    for image, target in enumerate(TARGETS):
        head = explainer.heads[[0, 2].index(target)]
        whole = ByHand(model, head.encoder, pooling, registers).eval()
        one = IMAGES[image : image + 1]
        with torch.no_grad():
            expected = head.contributions(whole(one))[0]
        torch.testing.assert_close(explanation.scores[image], expected)
        for k in (k for k in range(3) if expected[k] != 0):
            alone = ExcitationBackprop(whole, contrastive=True).attribute(one, target=k)[0, 0]
            torch.testing.assert_close(explanation.heatmaps[image, k], alone, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("trunk", ["separate", "shared"])
def test_an_image_does_not_depend_on_its_batch_nor_on_a_folder(pooling: str, trunk: str, tmp_path: Path) -> None:
    model = network()
    explainer = make(model, pooling, trunk=trunk)
    explainer.save(tmp_path / "explainer")
    together = explainer.explain(IMAGES, TARGETS)
    loaded = vitrine.load(tmp_path / "explainer", backbone=model)
    assert torch.equal(loaded.explain(IMAGES, TARGETS).heatmaps, together.heatmaps)
    for image, target in enumerate(TARGETS):
        alone = explainer.explain(IMAGES[image : image + 1], target)
        torch.testing.assert_close(alone.heatmaps[0], together.heatmaps[image], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(alone.scores[0], together.scores[image])
        torch.testing.assert_close(alone.logit_estimate[0], together.logit_estimate[image])  # type: ignore[index]


def test_images_of_another_size_than_the_heads_were_sized_by() -> None:
    explainer = make(network(dynamic_img_size=True), "mean_tokens")
    assert explainer.explain(torch.rand(2, 3, 48, 32), 0).heatmaps.shape == (2, 3, 48, 32)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_tokens_that_come_first(pooling: str) -> None:
    torch.manual_seed(0)
    explainer = make(TokensFirst(), pooling, "encoder")
    images = torch.rand(17, 3, 32, 32)  # as many as tokens
    together = explainer.explain(images, 2, internal_batch_size=17)
    alone = explainer.explain(images[5:6], 2)
    torch.testing.assert_close(alone.scores[0], together.scores[5])
    torch.testing.assert_close(alone.heatmaps[0], together.heatmaps[5], atol=1e-6, rtol=1e-4)
