"""SRAE heads: shapes as in the paper, x-features explained by the head of each image's class, batches equal to singles."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.heads import SeparateHeads, SRAEHead


def test_head_has_the_layers_of_the_paper() -> None:
    head = SRAEHead(4096, 5, (800, 100))
    shapes = [(m.in_features, m.out_features) for m in head.encoder if isinstance(m, nn.Linear)]
    assert shapes == [(4096, 800), (800, 100), (100, 5)]
    assert head.decoder is not None
    assert [(m.in_features, m.out_features) for m in head.decoder if isinstance(m, nn.Linear)] == [
        (b, a) for a, b in reversed(shapes)
    ]
    assert isinstance(head.encoder[-1], nn.ReLU)
    assert isinstance(head.decoder[-1], nn.Linear)
    assert head.predictor.bias is None


def test_contributions_sum_to_the_estimate() -> None:
    head = SRAEHead(10, 4, (6,))
    embedding, decoded, estimate, _ = head(torch.rand(3, 10))
    assert (embedding >= 0).all()
    assert decoded.shape == (3, 10)
    torch.testing.assert_close(head.contributions(embedding).sum(dim=1), estimate)


def test_reset_is_the_seed_alone() -> None:
    heads = [SRAEHead(10, 4, (6,)) for _ in range(2)]
    assert not torch.equal(heads[0].predictor.weight, heads[1].predictor.weight)
    for head in heads:
        head.reset(torch.Generator().manual_seed(5))
    for one, two in zip(heads[0].parameters(), heads[1].parameters(), strict=True):
        assert torch.equal(one, two)


def test_explanation_of_a_batch(explainer: SRAEExplainer, network: nn.Module, images: Tensor) -> None:
    explanation = explainer.explain(images)
    assert explanation.heatmaps.shape == (5, 3, 8, 8)
    assert explanation.scores.shape == (5, 3)
    logits = network.eval()(images).detach()
    torch.testing.assert_close(explanation.logits, logits)
    assert torch.equal(explanation.prediction, logits.argmax(dim=1))
    best = torch.tensor([0, 2])[logits[:, [0, 2]].argmax(dim=1)]
    assert torch.equal(explanation.target, best)
    # The contributions of the target's head sum to its estimate of the logit.
    column = (explanation.target == 2).long()[:, None]
    assert explanation.logit_estimate is not None
    torch.testing.assert_close(explanation.scores.sum(dim=1), explanation.logit_estimate.gather(1, column)[:, 0])


@pytest.mark.parametrize("contrastive", [False, True])
def test_heatmaps_equal_excitation_backprop_on_the_whole_network(
    explainer: SRAEExplainer, network: nn.Module, images: Tensor, contrastive: bool
) -> None:
    """Backbone, pooling and encoder as one plain network, one x-feature after the other."""
    explainer.options = replace(explainer.options, contrastive=contrastive)
    targets = [0, 2, 2, 0, 2]
    explanation = explainer.explain(images, target=targets)
    for row, target in enumerate(targets):
        assert isinstance(explainer.heads, SeparateHeads)
        head = explainer.heads[explainer.explained_classes.index(target)]
        parts = [
            network.get_submodule("features"),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            head.get_submodule("encoder"),
        ]
        whole = nn.Sequential(*parts)
        method = ExcitationBackprop(whole, contrastive=contrastive)
        for k in range(3):
            alone = method.attribute(images[row : row + 1], target=k)[0, 0]
            torch.testing.assert_close(explanation.heatmaps[row, k], alone, atol=1e-6, rtol=1e-4)


def test_one_image_does_not_depend_on_its_batch(explainer: SRAEExplainer, images: Tensor) -> None:
    together = explainer.explain(images)
    for row in range(len(images)):
        alone = explainer.explain(images[row : row + 1])
        torch.testing.assert_close(alone.heatmaps[0], together.heatmaps[row])
        torch.testing.assert_close(alone.scores[0], together.scores[row])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_internal_batch_size_changes_nothing(explainer: SRAEExplainer, images: Tensor, size: int) -> None:
    targets = [0, 2, 2, 0, 2]
    whole = explainer.explain(images, targets)
    for given in (targets, torch.tensor(targets)):
        parts = explainer.explain(images, given, internal_batch_size=size)
        torch.testing.assert_close(parts.heatmaps, whole.heatmaps)
        torch.testing.assert_close(parts.scores, whole.scores)
        assert parts.labels == whole.labels
        assert torch.equal(parts.target, whole.target)


def test_no_images_are_refused(explainer: SRAEExplainer) -> None:
    with pytest.raises(ValueError, match="no images to explain"):
        explainer.explain(torch.zeros(0, 3, 8, 8))


def test_mass_of_plain_maps_is_one_or_nothing(explainer: SRAEExplainer, images: Tensor) -> None:
    """Live x-features on a bias-free backbone; the encoder's biases are left out, as the convention says."""
    explainer.options = replace(explainer.options, contrastive=False)
    explanation = explainer.explain(images, target=0)
    mass = explanation.heatmaps.sum(dim=(2, 3))
    assert torch.isclose(mass, torch.ones_like(mass), atol=1e-5).logical_or(mass == 0).all()
    assert (mass > 0.5).any()


def test_attribute_has_the_shape_of_captum(explainer: SRAEExplainer, images: Tensor) -> None:
    assert explainer.attribute(images, target=torch.tensor([0, 2, 0, 2, 0])).shape == (5, 1, 8, 8)


def test_works_within_inference_mode(explainer: SRAEExplainer, images: Tensor) -> None:
    expected = explainer.explain(images).heatmaps
    with torch.inference_mode():
        torch.testing.assert_close(explainer.explain(images.clone()).heatmaps, expected)


def test_heads_get_no_gradient_from_explaining(explainer: SRAEExplainer, images: Tensor) -> None:
    explainer.explain(images)
    assert all(parameter.grad is None for parameter in explainer.parameters())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (1, r"no head for 'bee' \(class 1\); heads: ant, cat"),
        (3, "outside the classes 0 to 2"),
        (-1, "outside the classes 0 to 2"),
        ([0, 2], "one for each of the 5 inputs, got"),
    ],
)
def test_wrong_targets(explainer: SRAEExplainer, images: Tensor, target: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explainer.explain(images, target=target)


@pytest.mark.parametrize("classes", [[], [0, 0], [3], [-1]])
def test_wrong_explained_classes(network: nn.Module, classes: list[int]) -> None:
    with pytest.raises(ValueError, match="explained_classes"):
        SRAEExplainer(FrozenBackbone(network), SRAEOptions("features", explained_classes=classes, image_size=8))


def test_pooling(network: nn.Module) -> None:
    flat = SRAEExplainer(FrozenBackbone(network), SRAEOptions("features", "flatten", image_size=8, hidden=(4,)))
    assert flat.features.sizes(8) == (8 * 8 * 8, 3, 1)
    with pytest.raises(ValueError, match="'none' does not turn into vectors"):
        SRAEExplainer(FrozenBackbone(network), SRAEOptions("features", "none", image_size=8))
    with pytest.raises(ValueError, match="pooling is 'max'; give"):
        SRAEExplainer(FrozenBackbone(network), SRAEOptions("features", "max", image_size=8))  # type: ignore[arg-type]
