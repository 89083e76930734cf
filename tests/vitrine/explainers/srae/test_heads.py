"""Shared trunks, heads over positions, dropped and selected x-features against the same networks written plainly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import vitrine
from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.base import HEADS_NAME
from vitrine.explainers.srae.baselines import SelectedFeaturesExplainer
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads, SRAEHead
from vitrine.explainers.srae.x_features import XFeatureOptions

EXPLAINED = [0, 2]
TARGETS = [0, 2, 2, 0, 2]

Make = Callable[..., SRAEExplainer]


@pytest.fixture
def make(network: nn.Module) -> Make:
    """Makes explainers on the small network, all with the same weights."""

    def made(**options: Any) -> SRAEExplainer:
        torch.manual_seed(1)
        settings: dict[str, Any] = {"num_features": 3, "hidden": (7, 5), "image_size": 8, **options}
        options_ = SRAEOptions("features", explained_classes=EXPLAINED, **settings)
        return SRAEExplainer(FrozenBackbone(network), options_, ["ant", "bee", "cat"])

    return made


class Whole(nn.Module):
    """Backbone up to Z, an encoder at each position where these are kept, and its mean over them."""

    def __init__(self, network: nn.Module, encoder: nn.Module, pooling: str) -> None:
        super().__init__()
        self.features = network.get_submodule("features")
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        """X-features (B, K)."""
        activation = self.features(images)
        if self.pooling == "average":
            return self.encoder(activation.mean(dim=(2, 3)))
        vectors = activation.permute(0, 2, 3, 1)
        return self.encoder(vectors.reshape(-1, vectors.shape[-1])).unflatten(0, (len(images), -1)).mean(dim=1)


def assert_maps_equal_plain_excitation_backprop(
    explainer: SRAEExplainer, images: Tensor, whole_of: Callable[[int], nn.Module], units_of: Callable[[int], list[int]]
) -> None:
    maps = explainer.explain(images, TARGETS).heatmaps
    assert maps.abs().sum(dim=(2, 3)).gt(0).any(dim=1).all()
    for image, target in enumerate(TARGETS):
        row = EXPLAINED.index(target)
        method = ExcitationBackprop(whole_of(row), contrastive=explainer.options.contrastive)
        for k, unit in enumerate(units_of(row)):
            alone = method.attribute(images[image : image + 1], target=unit)[0, 0]
            torch.testing.assert_close(maps[image, k], alone, atol=1e-6, rtol=1e-4)


# Positions


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


def test_a_head_over_positions_is_the_mean_of_one_at_each_position() -> None:
    torch.manual_seed(0)
    positions, alone = SRAEHead(6, 3, (5,), positions=4), SRAEHead(6, 3, (5,))
    alone.load_state_dict(positions.state_dict())
    features = torch.rand(2, 24)
    output = positions(features)
    parts = [alone(features[:, 6 * p : 6 * p + 6]) for p in range(4)]
    torch.testing.assert_close(output.embedding, torch.stack([part.embedding for part in parts]).mean(dim=0))
    torch.testing.assert_close(positions.embed(features), output.embedding)
    torch.testing.assert_close(output.estimate, torch.stack([part.estimate for part in parts]).mean(dim=0))
    decoded = output.decoded.reshape(2, 4, 6)
    torch.testing.assert_close(decoded, torch.stack([part.decoded for part in parts], dim=1))
    torch.testing.assert_close(positions.rows_of(features).reshape(2, 24), features)


@pytest.mark.parametrize("contrastive", [False, True])
def test_maps_of_heads_over_positions(make: Make, network: nn.Module, images: Tensor, contrastive: bool) -> None:
    explainer = make(pooling="positions", contrastive=contrastive)
    assert isinstance(explainer.heads, SeparateHeads)
    heads = explainer.heads
    assert_maps_equal_plain_excitation_backprop(
        explainer, images, lambda row: Whole(network, heads[row].encoder, "positions"), lambda _: [0, 1, 2]
    )


# A shared trunk


def naive_shared(heads: SharedHeads, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, J, n) x-features and (N, d) decoded vectors of (N, d)."""
    one, two, three = [layer for layer in heads.encoder if isinstance(layer, nn.Linear)]
    trunk = (two(one(vectors).relu())).relu()
    n = heads.num_features
    classes = [
        (trunk @ three.weight[j * n : (j + 1) * n].T + three.bias[j * n : (j + 1) * n]).relu()
        for j in range(len(heads.alive))
    ]
    embeddings = torch.stack(classes, dim=1)
    assert heads.decoder is not None
    back = [layer for layer in heads.decoder if isinstance(layer, nn.Linear)]
    decoded = back[2](back[1](back[0](torch.cat(classes, dim=1)).relu()).relu())
    return embeddings, decoded


def test_shared_heads_are_the_network_written_plainly() -> None:
    torch.manual_seed(0)
    heads = SharedHeads(4, 9, 3, (7, 5))
    features = torch.rand(6, 9)
    output = heads(features)
    embeddings, decoded = naive_shared(heads, features)
    torch.testing.assert_close(output.embeddings, embeddings)
    torch.testing.assert_close(output.decoded, decoded)
    estimates = torch.stack([embeddings[:, j] @ heads.predictors()[j] for j in range(4)], dim=1)
    torch.testing.assert_close(output.estimates, estimates)
    torch.testing.assert_close(heads.estimates(features), estimates)
    rows = torch.tensor([3, 0, 0, 2, 1, 3])
    embedded = heads.embed(features, rows)
    torch.testing.assert_close(embedded, embeddings[range(6), rows])
    torch.testing.assert_close(heads.contributions(embedded, rows).sum(dim=1), estimates[range(6), rows])


def test_shared_heads_over_positions_average_over_them() -> None:
    torch.manual_seed(0)
    heads = SharedHeads(4, 9, 3, (7, 5), positions=2)
    features = torch.rand(6, 18)
    embeddings, decoded = naive_shared(heads, features.reshape(12, 9))
    output = heads(features)
    torch.testing.assert_close(output.embeddings, embeddings.reshape(6, 2, 4, 3).mean(dim=1))
    torch.testing.assert_close(output.local, embeddings)
    torch.testing.assert_close(output.decoded, decoded)


@pytest.mark.parametrize("pooling", ["average", "positions"])
@pytest.mark.parametrize("contrastive", [False, True])
def test_maps_of_shared_heads(make: Make, network: nn.Module, images: Tensor, contrastive: bool, pooling: str) -> None:
    explainer = make(trunk="shared", contrastive=contrastive, pooling=pooling)

    def whole_of(row: int) -> nn.Module:
        """The trunk with the last layer of one class."""
        layers = list(explainer.heads.get_submodule("encoder").children())
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        own = nn.Linear(last.in_features, 3)
        own.weight.data, own.bias.data = last.weight[3 * row : 3 * row + 3], last.bias[3 * row : 3 * row + 3]
        return Whole(network, nn.Sequential(*layers[:-2], own, nn.ReLU()), pooling)

    assert_maps_equal_plain_excitation_backprop(explainer, images, whole_of, lambda _: [0, 1, 2])


def test_trunks_are_separate_or_shared(make: Make) -> None:
    with pytest.raises(ValueError, match="trunk is 'common'; give 'separate' or 'shared'"):
        make(trunk="common")
    with pytest.raises(ValueError, match="shared trunk needs a hidden layer"):
        make(trunk="shared", hidden=())
    assert make(trunk="shared", decoder=False).heads.decoder is None
    separate = make(decoder=False).heads
    assert isinstance(separate, SeparateHeads)
    assert separate[1].decoder is None


# Dropped x-features


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


# Selected dimensions of Z


def selected_on(network: nn.Module, layer: str, **options: Any) -> SelectedFeaturesExplainer:
    chosen = XFeatureOptions(layer, explained_classes=EXPLAINED, image_size=8, **options)
    return SelectedFeaturesExplainer(FrozenBackbone(network), chosen, ["ant", "bee", "cat"])


def test_the_logit_itself_is_excitation_backprop(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "classifier", num_features=1, pooling="none")
    explainer.select(torch.tensor([[0], [2]]), torch.eye(3)[EXPLAINED])
    explanation = explainer.explain(images, TARGETS)
    expected = ExcitationBackprop(network.eval(), contrastive=True).attribute(images, target=torch.tensor(TARGETS))
    torch.testing.assert_close(explanation.heatmaps, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(explanation.scores[:, 0], network(images)[range(5), TARGETS])
    torch.testing.assert_close(explanation.logit_estimate, network(images)[:, EXPLAINED])


def test_chosen_dimensions_are_drawn_and_weighted(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "features", num_features=3)
    generator = torch.Generator().manual_seed(0)
    weights, bias = torch.randn(2, 8, generator=generator), torch.tensor([0.5, -1.0])
    explainer.select(torch.tensor([[4, 1], [7, -1]]), weights, bias)
    z = network.get_submodule("features")(images).mean(dim=(2, 3))
    ant, cat = (explainer.explain(images, target) for target in EXPLAINED)
    assert ant.heatmaps.shape == (5, 2, 8, 8)
    torch.testing.assert_close(ant.logit_estimate, z @ weights.T + bias)
    torch.testing.assert_close(ant.scores, z[:, [4, 1]] * weights[0, [4, 1]])
    torch.testing.assert_close(cat.scores[:, 0], z[:, 7] * weights[1, 7])
    assert not cat.scores[:, 1].any()
    assert not cat.heatmaps[:, 1].any()
    assert cat.labels[0][1] == ""
    whole = nn.Sequential(network.get_submodule("features"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for k, unit in enumerate([4, 1]):
        expected = ExcitationBackprop(whole, contrastive=True).attribute(images, target=unit)[:, 0]
        torch.testing.assert_close(ant.heatmaps[:, k], expected, atol=1e-6, rtol=1e-4)


def test_without_weights_nothing_is_estimated(network: nn.Module, images: Tensor) -> None:
    explainer = selected_on(network, "features", num_features=2)
    explainer.select(torch.tensor([[4, 1], [7, 0]]))
    explanation = explainer.explain(images, 0)
    z = network.get_submodule("features")(images).mean(dim=(2, 3))
    assert explanation.logit_estimate is None
    torch.testing.assert_close(explanation.scores, z[:, [4, 1]])


# Saving


@pytest.mark.parametrize("options", [{"trunk": "shared"}, {"pooling": "positions"}, {"decoder": False}], ids=str)
def test_saved_and_loaded(
    make: Make, network: nn.Module, images: Tensor, tmp_path: Path, options: dict[str, Any]
) -> None:
    explainer = make(**options)
    explainer.heads.drop(torch.tensor([[True, False, False], [True, False, True]]))
    expected = explainer.explain(images, TARGETS)
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    found = loaded.explain(images, TARGETS)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.logit_estimate, expected.logit_estimate)
    assert found.labels == expected.labels


def test_selected_features_saved_and_loaded(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    explainer = selected_on(network, "features", num_features=2)
    explainer.select(torch.tensor([[4, 1], [7, -1]]), torch.rand(2, 8), torch.tensor([0.5, -1.0]))
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    found, expected = loaded.explain(images, TARGETS), explainer.explain(images, TARGETS)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.logit_estimate, expected.logit_estimate)
    assert found.labels == expected.labels


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


# X-features that are silent on an image


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
