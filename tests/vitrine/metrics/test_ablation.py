"""Ablated filters give zero in any layout, and nothing of it is left behind."""

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.taps import captured
from vitrine.core.batch import Batch
from vitrine.filters.responses import FilterResponses
from vitrine.metrics.ablation import ablated, ablation_curve, accuracies_without, random_filters


class Layouts(nn.Module):
    """A conv with an in-place ReLU, a skip that holds the conv's output, channels-last maps, tokens, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 7)
        self.cells = nn.Identity()
        self.attention = nn.MultiheadAttention(7, 1, batch_first=True)
        self.tokens = nn.Identity()
        self.hidden = nn.Linear(7, 8)
        self.classifier = nn.Linear(8, 4)
        self.conv_output: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        self.conv_output = maps
        maps = self.pool(self.relu(maps))
        maps = self.cells(self.mix(self.last(maps.permute(0, 2, 3, 1))))
        tokens = self.tokens(self.attention(*[maps.flatten(1, 2)] * 3)[0])
        return self.classifier(F.relu(self.hidden(tokens.mean(dim=1))))


SHAPES = {
    "conv": ((2, 6, 16, 40), 1),
    "relu": ((2, 6, 16, 40), 1),
    "pool": ((2, 6, 8, 20), 1),
    "last": ((2, 8, 20, 6), 3),
    "mix": ((2, 8, 20, 7), 3),
    "cells": ((2, 8, 20, 7), 3),
    "tokens": ((2, 160, 7), 2),
    "hidden": ((2, 8), 1),
}


@pytest.fixture
def model() -> Layouts:
    torch.manual_seed(0)
    return Layouts().eval()


IMAGES = torch.randn(2, 3, 16, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", SHAPES)
def test_a_filter_gives_zero_and_the_others_of_its_layer_what_they_gave(layer: str, model: Layouts) -> None:
    shape, dim = SHAPES[layer]
    with captured(model, [layer]) as before:
        model(IMAGES)
    with ablated(model, [(layer, 5), (layer, 2)]), captured(model, [layer]) as after:
        model(IMAGES)
    assert after[layer].shape == shape
    expected = before[layer].clone()
    expected.transpose(0, dim)[[2, 5]] = 0
    assert torch.equal(after[layer], expected)


def test_what_comes_after_is_computed_from_the_zeros(model: Layouts) -> None:
    with ablated(model, [("hidden", channel) for channel in range(8)]):
        assert torch.equal(model(IMAGES), model.classifier.bias.expand(2, 4))
    weights = model.classifier.weight.clone()
    with ablated(model, [("hidden", 3)]):
        found = model(IMAGES)
    with torch.no_grad():
        model.classifier.weight[:, 3] = 0
    torch.testing.assert_close(found, model(IMAGES))
    assert not torch.equal(weights, model.classifier.weight)


def test_tensors_that_others_hold_are_left_alone(model: Layouts) -> None:
    held: list[Tensor] = []
    handle = model.conv.register_forward_hook(lambda *call: held.append(call[2]))
    model.relu.inplace = False
    plain = model.conv(IMAGES)
    with ablated(model, [("conv", 1), ("relu", 2)]):
        model(IMAGES)
    handle.remove()
    assert torch.equal(held[1], plain)
    assert model.conv_output is not None
    assert not model.conv_output[:, 1].any()
    assert torch.equal(model.conv_output[:, 2], plain[:, 2])


def test_infinite_outputs_become_zero_too(model: Layouts) -> None:
    with torch.no_grad():
        model.hidden.bias[4] = torch.inf
        model.hidden.bias[5] = torch.nan
    with ablated(model, [("hidden", 4), ("hidden", 5)]):
        assert model(IMAGES).isfinite().all()


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_hooks_are_gone_afterwards(model: Layouts) -> None:
    before = model(IMAGES)
    with ablated(model, [("conv", 0), ("mix", 1)]):
        assert hooks(model) == 3
        assert not torch.equal(model(IMAGES), before)
    assert hooks(model) == 0
    assert torch.equal(model(IMAGES), before)


def test_hooks_are_gone_after_an_exception(model: Layouts) -> None:
    def interrupted() -> None:
        with ablated(model, [("conv", 0)]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([("conv", 0), ("convs", 1)], "The model has no layer 'convs'; near names: conv"),
        ([("conv", 6)], r"Layer 'conv' has channels 0 to 5, not 6\."),
        ([("mix", -1)], r"Layer 'mix' has channels 0 to 6, not -1\."),
        ([("attention", 0)], "Layer 'attention' gives a tuple, not a tensor; choose a layer within it"),
    ],
)
def test_wrong_filters(filters: list[tuple[str, int]], message: str, model: Layouts) -> None:
    def run() -> None:
        with ablated(model, filters):
            model(IMAGES)

    with pytest.raises(ValueError, match=message):
        run()
    assert hooks(model) == 0


def test_no_filters_change_nothing(model: Layouts) -> None:
    expected = model(IMAGES)
    with ablated(model, []):
        assert torch.equal(model(IMAGES), expected)


def test_ablations_within_one_another_add_up(model: Layouts) -> None:
    with ablated(model, [("conv", 1), ("hidden", 2)]):
        expected = model(IMAGES)
    with ablated(model, [("conv", 1)]), ablated(model, [("hidden", 2)]):
        assert torch.equal(model(IMAGES), expected)


def test_a_layer_that_runs_twice_is_silenced_both_times() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs) + self.layer(2 * inputs)

    model = Twice()
    with ablated(model, [("layer", 1)]):
        output = model(torch.randn(2, 3))
    assert (output[:, 1] == 0).all()
    assert (output[:, [0, 2]] != 0).all()


def test_a_frozen_backbone_is_ablated_through_its_model(model: Layouts) -> None:
    backbone = FrozenBackbone(model)
    before, digest = backbone(IMAGES).logits, backbone.digest
    with ablated(backbone.model, [("hidden", channel) for channel in range(8)]):
        assert torch.equal(backbone(IMAGES).logits, model.classifier.bias.expand(2, 4))
    assert torch.equal(backbone(IMAGES).logits, before)
    assert backbone.digest == digest


def test_the_responses_of_ablated_filters_are_zero(model: Layouts) -> None:
    backbone = FrozenBackbone(model)
    names = ["conv", "pool", "last", "mix", "tokens", "hidden"]
    responses = FilterResponses(backbone, names, image_size=16)
    images = torch.randn(2, 3, 16, 16)
    before = responses(images)["features"]
    alive = [index for index in range(responses.num_filters) if bool(before[:, index].all())]
    assert len(alive) > 30
    for index in alive:
        layer, channel = responses.filter_of(index)
        with ablated(backbone.model, [(layer.name, channel)]):
            after = responses(images)["features"]
        assert not after[:, index].any()
        own = after[:, layer.start : layer.start + layer.width].bool().sum(dim=1)
        assert (own == before[:, layer.start : layer.start + layer.width].bool().sum(dim=1) - 1).all()


# Random filters


FILTERS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=12)


@given(filters=FILTERS, seed=st.integers(0, 99))
def test_random_filters_are_as_many_of_the_same_layers_and_others(filters: list[tuple[str, int]], seed: int) -> None:
    widths = {"a": 5, "b": 10, "c": 100}
    given_filters = list(dict.fromkeys(filters))
    drawn = random_filters(filters, widths, torch.Generator().manual_seed(seed))
    assert [layer for layer, _ in drawn] == [layer for layer, _ in given_filters]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= channel < widths[layer] for layer, channel in drawn)
    assert drawn == random_filters(filters, widths, torch.Generator().manual_seed(seed))
    for layer, count in Counter(layer for layer, _ in given_filters).items():
        if 2 * count <= widths[layer]:
            assert not {pair for pair in drawn if pair[0] == layer} & set(given_filters)


def test_random_filters_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [random_filters([("a", 0), ("b", 0), ("b", 1)], {"a": 5, "b": 3}, generator) for _ in range(2000)]
    of_a = Counter(dict(draw)["a"] for draw in drawn)
    assert sorted(of_a) == [1, 2, 3, 4]
    assert all(abs(count - 500) < 100 for count in of_a.values())
    # b has one other filter for two: both are drawn from all three.
    of_b = Counter(channel for draw in drawn for layer, channel in draw if layer == "b")
    assert all(abs(of_b[channel] - 4000 / 3) < 150 for channel in range(3))


# Curves


class OneFilterAClass(nn.Module):
    """Logit j is filter j of the layer, the mean of the image's channel j; the fourth filter is for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(4, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(4)[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.features(images))[:, :3].mean(dim=(2, 3))


def batches() -> Iterator[Batch]:
    """Seven images in three batches, that can be read once: three of class 0, three of class 1 and one of class 2."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2])
    images = F.one_hot(labels, 4)[:, :, None, None].expand(7, 4, 5, 5) + 0.1
    for rows in ([0, 3, 6], [1, 4], [2, 5]):
        yield Batch(image=images[rows], label=labels[rows])


def test_the_curve_of_mean_class_accuracy() -> None:
    model = OneFilterAClass().train()
    model.features.weight.grad = torch.ones_like(model.features.weight)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    ranked = [("features", 3), ("features", 1), ("features", 3), ("features", 2)]
    curve = ablation_curve(model, batches(), ranked, [0, 1, 2, 3])
    # Each class lost weighs a third, however many images it has.
    assert curve.tolist() == pytest.approx([1, 1, 2 / 3, 1 / 3])
    assert model.training
    assert model.norm.training
    assert bool((model.features.weight.grad == 1).all())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert hooks(model) == 0


def test_accuracies_without_several_sets() -> None:
    sets = [[("features", 0)], [], [("features", channel) for channel in (1, 2)]]
    assert accuracies_without(OneFilterAClass(), batches(), sets).tolist() == pytest.approx([2 / 3, 1, 1 / 3])


@pytest.mark.parametrize("count", [-1, 2])
def test_wrong_counts(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} filters cannot be ablated: there are 1"):
        ablation_curve(OneFilterAClass(), batches(), [("features", 1)], [0, count])
