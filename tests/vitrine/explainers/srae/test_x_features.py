"""Explainers by x-features: positions, dropped x-features, and images that have different heads."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import vitrine
from tests.helpers.srae_explainers import EXPLAINED, TARGETS, Make, Whole, assert_maps_equal_plain_excitation_backprop
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.saving import HEADS_NAME
from vitrine.explainers.srae.heads import SeparateHeads


def test_positions_are_the_activations_vectors_row_by_row(network: nn.Module, images: Tensor) -> None:
    tapped = TappedFeatures(FrozenBackbone(network), "features", "positions")
    sizes = tapped.sizes(8)
    assert (sizes.width, sizes.positions, sizes.classes) == (8 * 64, 64, 3)
    activation = network.get_submodule("features")(images)
    vectors = tapped(images)["features"].reshape(5, 64, 8)
    for y in range(8):
        for x in range(8):
            torch.testing.assert_close(vectors[:, 8 * y + x], activation[:, :, y, x])


def test_positions_need_an_activation_over_space(network: nn.Module, images: Tensor) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Flatten(2)
            self.classifier = nn.Linear(64, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.classifier(self.tokens(images).mean(dim=1))

    with pytest.raises(ValueError, match="2-dimensional activations, which pooling 'positions' does not turn"):
        TappedFeatures(FrozenBackbone(Tokens()), "tokens", "positions").sizes(8)
    assert TappedFeatures(FrozenBackbone(network), "classifier", "positions").sizes(8).positions == 1


@pytest.mark.parametrize("contrastive", [False, True])
def test_maps_of_heads_over_positions(make: Make, network: nn.Module, images: Tensor, contrastive: bool) -> None:
    explainer = make(pooling="positions", contrastive=contrastive)
    assert isinstance(explainer.heads, SeparateHeads)
    heads = explainer.heads
    assert_maps_equal_plain_excitation_backprop(
        explainer, images, lambda row: Whole(network, heads[row].encoder, "positions"), lambda _: [0, 1, 2]
    )


@pytest.mark.parametrize("trunk", ["separate", "shared"])
@pytest.mark.parametrize("pooling", ["average", "positions"])
def test_dropped_x_features_are_left_out(make: Make, images: Tensor, trunk: str, pooling: str) -> None:
    explainer = make(trunk=trunk, pooling=pooling)
    whole = [explainer.explain(images, target) for target in EXPLAINED]
    explainer.heads.drop(torch.tensor([[True, False, False], [True, False, True]]))
    ant, cat = (explainer.explain(images, target) for target in EXPLAINED)
    assert all(labels == ["x-feature 2", "x-feature 3"] for labels in ant.labels)
    assert all(labels == ["x-feature 2", ""] for labels in cat.labels)
    assert explainer.heatmap_numbers(2) == [1]
    torch.testing.assert_close(ant.heatmaps, whole[0].heatmaps[:, 1:])
    torch.testing.assert_close(cat.heatmaps[:, 0], whole[1].heatmaps[:, 1])
    assert not cat.heatmaps[:, 1].any()
    assert not cat.scores[:, 1].any()
    for column, (before, after) in enumerate(zip(whole, (ant, cat), strict=True)):
        kept = [1, 2] if column == 0 else [1]
        assert after.logit_estimate is not None
        torch.testing.assert_close(after.logit_estimate[:, column], before.scores[:, kept].sum(dim=1))
        torch.testing.assert_close(after.scores.sum(dim=1), after.logit_estimate[:, column])


def test_one_image_does_not_depend_on_which_heads_others_have(make: Make, images: Tensor) -> None:
    explainer = make()
    explainer.heads.drop(torch.tensor([[False, False, False], [True, False, True]]))
    together = explainer.explain(images, TARGETS)
    for image, target in enumerate(TARGETS):
        alone = explainer.explain(images[image : image + 1], target)
        torch.testing.assert_close(alone.heatmaps[0], together.heatmaps[image])
        torch.testing.assert_close(alone.scores[0], together.scores[image])
        assert list(alone.labels[0]) == list(together.labels[image])


def test_a_head_without_x_features_explains_nothing(make: Make, images: Tensor) -> None:
    explainer = make()
    explainer.heads.drop(torch.ones(2, 3, dtype=torch.bool))
    explanation = explainer.explain(images, 0)
    assert explanation.heatmaps.shape == (5, 1, 8, 8)
    assert not explanation.heatmaps.any()
    assert explanation.labels[0] == [""]


def test_heads_that_do_not_say_what_is_alive_have_all(make: Make, network: nn.Module, tmp_path: Path) -> None:
    make().save(tmp_path / "explainer")
    path = tmp_path / "explainer" / HEADS_NAME
    state = load_file(path)
    old = {name: value for name, value in state.items() if not name.endswith(".alive")}
    assert len(old) == len(state) - 2
    save_file(old, path)
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    assert isinstance(loaded, SRAEExplainer)
    assert loaded.heads.alive.all()


def test_an_x_feature_that_does_not_fire_is_not_drawn(make: Make, images: Tensor) -> None:
    drawn, firing = (make(draw_inactive=draw_inactive) for draw_inactive in (True, False))
    firing.heads.load_state_dict(drawn.heads.state_dict())
    for explainer in (drawn, firing):
        last = cast("Any", explainer.heads)[0].encoder[-2]
        last.bias.data[:] = torch.tensor([-100.0, 1.0, 1.0])
    with_silent, without = (explainer.explain(images, TARGETS) for explainer in (drawn, firing))
    silent = without.scores == 0
    assert silent[[0, 3], 0].all()
    assert torch.equal(with_silent.scores, without.scores)
    assert with_silent.heatmaps[silent].abs().sum() > 0
    assert torch.equal(without.heatmaps, with_silent.heatmaps * ~silent[..., None, None])
    assert without.labels == with_silent.labels
