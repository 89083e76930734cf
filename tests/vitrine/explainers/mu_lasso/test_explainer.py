"""The μ-Lasso explainer: what it shows of an image follows from its weights, and it can be saved."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import vitrine
from tests.helpers.mu_lasso_networks import CLASSES, FILTERS, make
from vitrine.attribution import GuidedBackprop, UpsampledActivation
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.image_ops import gaussian_blur
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import MuLassoExplainer
from vitrine.explainers.mu_lasso.explainer import MuLassoOptions


@pytest.fixture
def selector(network: nn.Module) -> MuLassoExplainer:
    """With a shift, factors and dense random weights; draws also what is absent."""
    explainer = make(network, scaling="standardized", num_heatmaps=4, absent="show")
    generator = torch.Generator().manual_seed(3)
    explainer.weights.data.copy_(torch.randn(FILTERS, CLASSES, generator=generator))
    explainer.weights.data[11] = -4.0
    explainer.scaling.shift.copy_(torch.rand(FILTERS, generator=generator) / 10)
    explainer.scaling.factor.copy_(torch.rand(FILTERS, generator=generator) + 0.5)
    explainer.intercept.copy_(torch.tensor([0.25, 0.5, 0.125]))
    return explainer


def contributions(explainer: MuLassoExplainer, images: Tensor, classes: Tensor) -> Tensor:
    """The products r = w_ĵ ∘ x, image by image and filter by filter."""
    x, weights = explainer.responses(images)["features"], explainer.weights.detach()
    standard = (x - explainer.scaling.shift) * explainer.scaling.factor
    rows = [[float(standard[b, i] * weights[i, j]) for i in range(FILTERS)] for b, j in enumerate(classes)]
    return torch.tensor(rows)


def largest(explainer: MuLassoExplainer, images: Tensor) -> Tensor:
    """(B, m) largest activations, layer by layer."""
    with torch.no_grad():
        taps = explainer.backbone(images, ["features.0", "features.2"]).taps
    return torch.cat([taps[name].amax(dim=(2, 3)) for name in ("features.0", "features.2")], dim=1)


@pytest.mark.parametrize("target", [None, 1, [2, 0, 1, 1, 0]])
def test_what_is_absent_is_left_out_by_default(selector: MuLassoExplainer, images: Tensor, target: Any) -> None:
    selector.scaling.shift.mul_(2)
    explainer = make(selector.backbone.model, scaling="standardized", num_heatmaps=FILTERS)
    for name, value in selector.head_state().items():
        explainer.head_state()[name].copy_(value)
    explanation = explainer.explain(images, target)
    assert explanation.target is not None
    expected, maxima = contributions(explainer, images, explanation.target), largest(explainer, images)
    there = (explainer.weights.detach().T[explanation.target] > 0) & (maxima > 0)
    torch.testing.assert_close(explanation.scores, expected.where(there, 0).clamp(min=0).sort(descending=True).values)
    assert 0 < int(explanation.valid.sum()) == int((there & (expected > 0)).sum()) < int((expected > 0).sum())
    assert not [label for labels in explanation.labels for label in labels if label.startswith("absent")]
    torch.testing.assert_close(explanation.class_scores, selector.explain(images).class_scores)


def halves(*layers: nn.Module) -> nn.Sequential:
    """The three colours as filters, before further layers."""
    colours = nn.Conv2d(3, 3, 1, bias=False)
    colours.weight.data.copy_(torch.eye(3)[..., None, None])
    torch.manual_seed(0)
    return nn.Sequential(colours, *layers)


def test_positive_activations_alone_are_drawn_by_default() -> None:
    """Of a filter that copies a colour: its positive places, where all of it is drawn otherwise, and the paper's own map."""
    network = halves(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    images = torch.full((1, 3, 4, 4), -0.5)
    images[:, 0, :, :2], images[:, 1, 0, 0] = 2.0, 0.25  # blue is nowhere above 0
    maps = {}
    for absent in ("hide", "show"):
        explainer = MuLassoExplainer(
            FrozenBackbone(network), MuLassoOptions(layers=["0"], num_heatmaps=3, image_size=4, absent=absent)
        )
        explainer.weights.data[:] = 1.0
        explanation = explainer.explain(images, 0)
        maps[absent] = dict(zip(explanation.labels[0], explanation.heatmaps[0], strict=True))
    assert set(maps["hide"]) == {"1 0 #0", "1 0 #1", ""}
    assert set(maps["show"]) == {"1 0 #0", "1 0 #1", "absent: 1 0 #2"}
    for channel in (0, 1):
        torch.testing.assert_close(maps["hide"][f"1 0 #{channel}"], images[0, channel].relu())
        torch.testing.assert_close(maps["show"][f"1 0 #{channel}"], images[0, channel].abs())
    torch.testing.assert_close(maps["show"]["absent: 1 0 #2"], images[0, 2].abs())


@pytest.mark.parametrize(("absent", "share"), [("show", 0.0), ("hide", 0.0), ("hide", 0.5)])
def test_activations_are_drawn_upsampled(network: nn.Module, images: Tensor, absent: str, share: float) -> None:
    """As the attribution method draws the same channel; what exceeds the threshold where there is one."""
    options = {"absent": absent, "activation_threshold": share, "drawing": "activation", "num_heatmaps": 3}
    explainer = make(network, **options)
    explainer.weights.data[:, 1] = torch.rand(FILTERS, generator=torch.Generator().manual_seed(1))
    explainer.median_maxima.fill_(0.25)
    explanation = explainer.explain(images, 1)
    for row, labels in enumerate(explanation.labels):
        for k, label in enumerate(labels):
            if label:
                _, layer, channel = label.removeprefix("absent: ").split()
                method = UpsampledActivation(network, layer, alignment="receptive_field")
                expected = method.attribute(images[row : row + 1], channel=int(channel[1:]))[0, 0]
                expected = expected if absent == "show" else (expected - 0.25 * share).clamp(min=0)
                torch.testing.assert_close(explanation.heatmaps[row, k], expected)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.LeakyReLU(0.2)])
def test_hidden_absences_of_layers_of_every_kind(activation: nn.Module) -> None:
    """Fully connected units and gated activations below 0 are not there; what is drawn starts from positive values."""
    network = halves(activation, nn.Flatten(), nn.Linear(48, 6), copy.deepcopy(activation), nn.Linear(6, 2))
    layers = ["0", "1", "3"]
    explainer = MuLassoExplainer(FrozenBackbone(network), MuLassoOptions(layers=layers, num_heatmaps=12, image_size=4))
    explainer.weights.data[:, 0] = 1.0
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    images[:3, 2] = -images[:3, 2].abs()
    explanation = explainer.explain(images, 0)
    colours, outputs, units = (nn.Sequential(*list(network)[: last + 1])(images).detach() for last in (0, 1, 3))
    for row, labels in enumerate(explanation.labels):
        expected = {f"{number} {name} #{channel}" for number, name, values in ((1, "0", colours), (2, "1", outputs))
                    for channel in range(3) if values[row, channel].max() > 0}  # fmt: skip
        expected |= {f"3 3 #{unit}" for unit in range(6) if units[row, unit] > 0}
        assert set(labels) - {""} == expected
        assert len(expected) < 12


def test_tokens_below_zero_are_not_there() -> None:
    """Channels of the class token by its own sign, those of patches where any patch is above 0."""
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=16, patch_size=8, depth=1, embed_dim=24, num_heads=2
    )
    layer = "blocks.0.mlp.act"
    explainer = MuLassoExplainer(
        FrozenBackbone(vit), MuLassoOptions(layers=[layer, f"{layer}[0]"], num_heatmaps=192, image_size=16)
    )
    explainer.weights.data[:, 0] = 1.0
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        tokens = explainer.backbone(images, [layer]).taps[layer]
    explanation = explainer.explain(images, 0)
    for row, labels in enumerate(explanation.labels):
        expected = {f"{layer} #{channel}" for channel in range(96) if tokens[row, 1:, channel].max() > 0}
        expected |= {f"{layer}[0] #{channel}" for channel in range(96) if tokens[row, 0, channel] > 0}
        assert {label.split(" ", 1)[1] for label in labels if label} == expected
        assert 0 < len(expected) < 192


@pytest.mark.parametrize("target", [None, 1, [2, 0, 1, 1, 0]])
def test_the_strongest_contributions_are_the_scores(selector: MuLassoExplainer, images: Tensor, target: Any) -> None:
    explanation = selector.explain(images, target)
    classes = explanation.prediction if target is None else torch.as_tensor(target).expand(5)
    assert torch.equal(explanation.target, classes)
    assert torch.equal(explanation.prediction, explanation.logits.argmax(dim=1))
    expected = contributions(selector, images, classes).sort(dim=1, descending=True)
    assert (expected.values[:, :4] > 0).all()  # signed: the largest negative ones are larger, and not among them
    assert (expected.values[:, -1].abs() > expected.values[:, 3]).any()
    torch.testing.assert_close(explanation.scores, expected.values[:, :4])
    numbers = {"features.0": 1, "features.2": 3}  # the activation between them counts
    maxima = largest(selector, images)
    for row, (labels, indices) in enumerate(zip(explanation.labels, expected.indices[:, :4].tolist(), strict=True)):
        places = [("features.0", index) if index < 6 else ("features.2", index - 6) for index in indices]
        absent = [selector.weights[index, classes[row]] < 0 or maxima[row, index] <= 0 for index in indices]
        starts = ["absent: " if missing else "" for missing in absent]
        assert labels == [
            f"{start}{numbers[layer]} {layer} #{channel}"
            for start, (layer, channel) in zip(starts, places, strict=True)
        ]
    assert explanation.kinds == [["conv"] * 4] * 5
    assert explanation.aggregation == "maximum"


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_whole_maps_are_guided_backprop_of_each_filter(network: nn.Module, images: Tensor, sigma: float) -> None:
    explainer = make(network, num_heatmaps=3, sigma=sigma, absent="show")
    explainer.weights.data.copy_(torch.rand(FILTERS, CLASSES, generator=torch.Generator().manual_seed(0)))
    explanation = explainer.explain(images, 2)
    for row in range(5):
        for k, label in enumerate(explanation.labels[row]):
            _, layer, channel = label.removeprefix("absent: ").split()
            method = GuidedBackprop(network, layer, stride_one=True)
            alone = method.attribute(images[row : row + 1], channel=int(channel[1:]))
            drawn = alone.abs().amax(dim=1)[0]
            expected = gaussian_blur(drawn, sigma) if sigma else drawn
            assert expected.max() > 0
            torch.testing.assert_close(explanation.heatmaps[row, k], expected)


def test_layers_of_other_kinds_are_told() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 2),
    )  # fmt: skip
    explainer = MuLassoExplainer(FrozenBackbone(network), MuLassoOptions(num_heatmaps=17, image_size=6))
    explainer.weights.data.fill_(1.0)
    explanation = explainer.explain(torch.rand(2, 3, 6, 6))
    for labels, kinds, scores in zip(explanation.labels, explanation.kinds or (), explanation.scores, strict=True):
        spoken = [(label.split()[0], kind) for label, kind in zip(labels, kinds, strict=True) if kind]
        assert set(spoken) <= {("1", "conv"), ("2", "norm"), ("4", "pool"), ("5", "linear")}
        assert len(spoken) == int((scores > 0).sum())
    assert {kind for kinds in explanation.kinds or () for kind in kinds} >= {"conv", "norm", "pool", "linear"}


def test_where_fewer_filters_speak_the_rest_is_empty(network: nn.Module, images: Tensor) -> None:
    explainer = make(network, num_heatmaps=4)
    explainer.weights.data[[1, 9], 0] = torch.tensor([0.5, 0.25])
    explainer.weights.data[[2, 3], 0] = -1.0
    explanation = explainer.explain(images, 0)
    assert (explanation.scores[:, :2] > 0).all()
    assert torch.equal(explanation.scores[:, 2:], torch.zeros(5, 2))  # neither -0.0 nor the negative ones
    assert not explanation.heatmaps[:, 2:].any()
    assert explanation.heatmaps[:, :2].flatten(2).any(dim=2).all()
    assert not bool(explanation.valid[:, 2:].any())
    assert explanation.kinds == [["conv", "conv", "", ""]] * 5
    silent = explainer.explain(images, 1)  # nothing speaks for this class
    assert not silent.scores.any()
    assert not silent.aggregate().any()


def test_the_reconstruction_is_of_the_labels_of_all_classes(selector: MuLassoExplainer, images: Tensor) -> None:
    explanation = selector.explain(images)
    assert explanation.explained_classes is None
    expected = [
        contributions(selector, images, torch.full((5,), j)).sum(dim=1) + selector.intercept[j] for j in range(3)
    ]
    assert explanation.class_scores is not None
    torch.testing.assert_close(explanation.class_scores, torch.stack(expected, dim=1))


def test_class_scores_are_in_full_also_under_autocast(selector: MuLassoExplainer) -> None:
    x = torch.rand(4, FILTERS)
    expected = selector.class_scores(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(selector.class_scores(x), expected)


def test_an_image_does_not_depend_on_its_batch(selector: MuLassoExplainer, images: Tensor) -> None:
    together = selector.explain(images)
    for size in (1, 2):
        parts = selector.explain(images, internal_batch_size=size)
        torch.testing.assert_close(parts.heatmaps, together.heatmaps)
        torch.testing.assert_close(parts.scores, together.scores)
        assert parts.labels == together.labels
        assert parts.kinds == together.kinds
        assert parts.aggregation == together.aggregation
    some = together[1:3]
    assert some.kinds == (together.kinds or [])[1:3]
    assert torch.equal(some.cpu().aggregate(), together.aggregate()[1:3])


@pytest.mark.parametrize("aggregation", ["maximum", "sum"])
def test_attribute_joins_the_heatmaps_as_chosen(
    network: nn.Module, selector: MuLassoExplainer, images: Tensor, aggregation: str
) -> None:
    explainer = make(network, num_heatmaps=3, aggregation=aggregation)
    explainer.weights.data.copy_(selector.weights.data)
    explanation = explainer.explain(images, 1)
    maps = explainer.attribute(images, 1)
    for row in range(5):
        joined = torch.zeros(8, 8)
        for heatmap, score in zip(explanation.heatmaps[row], explanation.scores[row], strict=True):
            if aggregation == "sum":
                joined += score * heatmap / heatmap.sum()
            else:
                joined = torch.maximum(joined, heatmap / heatmap.max() if score > 0 else torch.zeros(8, 8))
        torch.testing.assert_close(maps[row, 0], joined)


def test_works_within_inference_mode(selector: MuLassoExplainer, images: Tensor) -> None:
    expected = selector.explain(images)
    with torch.inference_mode():
        found = selector.explain(images.clone())
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.scores, expected.scores)


def test_nothing_that_explains_leaves_a_gradient(selector: MuLassoExplainer, images: Tensor) -> None:
    explanation = selector.explain(images)
    assert not any(value.requires_grad for value in vars(explanation).values() if isinstance(value, Tensor))
    assert selector.weights.grad is None


@pytest.mark.parametrize("target", [3, -1, [0, 1, 2, 3, 0]])
def test_wrong_targets(selector: MuLassoExplainer, images: Tensor, target: Any) -> None:
    with pytest.raises(ValueError, match="outside the classes 0 to 2"):
        selector.explain(images, target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mu": 0.0}, "mu is 0.0; give a number above 0"),
        ({"mu": float("nan")}, "mu is nan; give"),
        ({"mu": float("inf")}, "mu is inf; give"),
        ({"num_heatmaps": 0}, "num_heatmaps is 0; give 1 or more"),
        ({"num_heatmaps": 15}, "num_heatmaps is 15; give 1 to 14"),
        ({"aggregation": "mean"}, "aggregation is 'mean'; give 'sum' or 'maximum'"),
        ({"sigma": -1.0}, "sigma is -1.0; give"),
        ({"scaling": "zscore"}, "scaling is 'zscore'; give"),
        ({"pooling": "max"}, "pooling is 'max'; give"),
        ({"layers": ["featurs.0"]}, "no layer 'featurs.0'; near names: features.0"),
        ({"layers": "convs"}, "layers is 'convs'; give"),
        ({"norm": "l1"}, "norm is 'l1'; give"),
        ({"absent": "no"}, "absent is 'no'; give 'hide' or 'show'"),
    ],
)
def test_wrong_options(network: nn.Module, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(network, **options)


def test_relevant_filters_by_falling_weight(network: nn.Module) -> None:
    explainer = make(network)
    explainer.weights.data[[2, 9, 13, 5], [0, 0, 2, 0]] = torch.tensor([0.25, -0.5, 1.0, 0.25])
    assert explainer.relevant(0) == [9, 2, 5]  # equals in the order of x
    assert explainer.relevant(1) == []
    assert explainer.relevant_filters() == [("features.2", 7), ("features.2", 3), ("features.0", 2), ("features.0", 5)]


def test_project_brings_every_class_into_the_ball(network: nn.Module) -> None:
    explainer = make(network, mu=2.0)
    explainer.weights.data.copy_(torch.tensor([3.0, 0.1, 1.0]).expand(FILTERS, CLASSES))
    explainer.project()
    torch.testing.assert_close(explainer.weights.abs().sum(dim=0), torch.tensor([2.0, 1.4, 2.0]))
    torch.testing.assert_close(explainer.weights[:, 0], torch.full((FILTERS,), 2 / FILTERS))
    assert torch.equal(explainer.weights[:, 1], torch.full((FILTERS,), 0.1))


def test_round_trip(network: nn.Module, selector: MuLassoExplainer, images: Tensor, tmp_path: Path) -> None:
    selector.save(tmp_path / "explainer", bundle_backbone=False)
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    assert isinstance(loaded, MuLassoExplainer)
    assert loaded.options == selector.options
    assert loaded.responses.layers == selector.responses.layers
    for name, value in selector.head_state().items():
        assert torch.equal(loaded.head_state()[name], value)
    assert {"weights", "intercept", "scaling.shift", "scaling.factor"} <= set(selector.head_state())
    before, after = selector.explain(images), loaded.explain(images)
    assert torch.equal(after.heatmaps, before.heatmaps)
    assert torch.equal(after.scores, before.scores)
    assert (after.labels, after.kinds, after.aggregation) == (before.labels, before.kinds, before.aggregation)
    assert torch.equal(after.class_scores, before.class_scores)  # type: ignore[arg-type]


def test_every_option_is_saved(network: nn.Module, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {
        "layers": ["features.2", "features.1"], "norm": "squared", "normalization": "whole", "scaling": "unit", "mu": 3.5,
        "num_heatmaps": 2, "aggregation": "sum", "stride_one": False, "pooling": "resampled", "sigma": 1.5,
        "activation_threshold": 0.25, "tokens": "patches", "absent": "show", "drawing": "activation",
    }  # fmt: skip
    explainer = make(network, **chosen)
    explainer.save(tmp_path / "explainer", bundle_backbone=False)
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    assert loaded.options.to_dict() == {**chosen, "layers": ["features.1", "features.2"], "image_size": 8}
    assert [layer.kind for layer in loaded.responses.layers] == ["activation", "conv"]  # type: ignore[union-attr]


def test_an_explainer_saved_before_there_was_the_option_draws_as_it_did(network: nn.Module, tmp_path: Path) -> None:
    make(network).save(tmp_path / "explainer", bundle_backbone=False)
    path = tmp_path / "explainer" / "explainer.json"
    for absent, expected in (("hide", "hide"), (None, "show")):
        config = json.loads(path.read_text())
        assert config["options"]["absent"] == "hide"
        if absent is None:
            del config["options"]["absent"]
            path.write_text(json.dumps(config))
        loaded = vitrine.load(tmp_path / "explainer", backbone=network)
        assert loaded.options.absent == expected  # type: ignore[attr-defined]


def test_a_backbone_that_has_a_name_comes_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = FrozenBackbone("vitrine.data.an8flower.network:FlowerNet", num_classes=3, arguments={"width": 4})
    explainer = MuLassoExplainer(
        backbone, MuLassoOptions(image_size=64), ["ant", "bee", "cat"], Preprocessing(64, None)
    )
    explainer.weights.data.fill_(0.5)
    explainer.save(tmp_path / "explainer", metadata={"filters": 88})
    loaded = vitrine.load(tmp_path / "explainer")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.explain(images).heatmaps, explainer.explain(images).heatmaps)
    assert loaded.preprocessing == explainer.preprocessing
    assert json.loads((tmp_path / "explainer" / "explainer.json").read_text())["metadata"] == {"filters": 88}
