"""Target functions: any method on scores of segmentation and detection models of torchvision, and plain classes by them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection, segmentation

from vitrine.attribution import GradCAM, IntegratedGradients, InversionMask, Saliency
from vitrine.attribution.registry import all_methods
from vitrine.attribution.score_functions import DetectionScore, RegionScore
from vitrine.backbones import FrozenBackbone

USES_PROBABILITY = {
    "RISE",
    "ExtremalPerturbation",
    "MeaningfulPerturbation",
    "InversionMask",
    "ScoreCAM",
    "FeatureInversion",
}
"""Of these a score counts as the one logit of a model of its own."""


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))


EXACT = [
    name
    for name, kind in all_methods().items()
    if kind.explains_classes
    and name not in USES_PROBABILITY
    and name != "CAM"
    and "attention" not in kind.network_requirement
]


@pytest.mark.parametrize("name", EXACT)
def test_a_function_that_picks_a_class_gives_the_classes_map(name: str, classifier: nn.Module, images: Tensor) -> None:
    kind = all_methods()[name]
    method = kind(classifier, **kind.quick_options)
    by_function = method.attribute(images, lambda logits: logits[:, 3])
    torch.testing.assert_close(by_function, method.attribute(images, 3))


@pytest.mark.parametrize("name", sorted(USES_PROBABILITY))
def test_methods_of_probabilities_take_the_score_as_one_logit(name: str, classifier: nn.Module, images: Tensor) -> None:
    class OneLogit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = classifier

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.network(inputs)
            return logits[:, 3:4]

    kind = all_methods()[name]
    options = dict(kind.quick_options)
    alone = kind(OneLogit(), **options).attribute(images, 0)
    method = kind(classifier, **options)
    method.attribute(images, 1)  # of whose output nothing may be left
    torch.testing.assert_close(method.attribute(images, lambda logits: logits[:, 3]), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("result", [lambda logits: logits, lambda logits: logits.sum(), lambda _: 3.0])
def test_functions_that_give_no_score_for_each_image_are_refused(
    result: Any, classifier: nn.Module, images: Tensor
) -> None:
    with pytest.raises(ValueError, match="one score for each input"):
        Saliency(classifier).attribute(images, result)


@pytest.fixture(scope="module")
def scene() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def segmenter() -> nn.Module:
    torch.manual_seed(0)
    return segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4).eval()


def gradient(model: nn.Module, inputs: Tensor, score: Any) -> Tensor:
    pixels = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(score(model(pixels)).sum(), pixels)
    return found


def test_a_region_of_a_segmentation(segmenter: nn.Module, scene: Tensor) -> None:
    region = torch.zeros(64, 64)
    region[8:24, 8:24] = 1
    score = RegionScore(2, region)
    expected = gradient(segmenter, scene, lambda output: output["out"][:, 2, 8:24, 8:24].mean(dim=(1, 2))).abs()
    torch.testing.assert_close(Saliency(segmenter).attribute(scene, score), expected)
    maps = GradCAM(segmenter, "backbone.16").attribute(scene, score)
    assert maps.shape == (2, 1, 64, 64)
    assert maps.isfinite().all()


def test_fcn_by_its_own_output_and_as_frozen_backbone(scene: Tensor) -> None:
    torch.manual_seed(0)
    model = segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3).eval()
    one = scene[:1]
    maps = GradCAM(model, "backbone.layer4").attribute(one, RegionScore(1))
    by_logits = GradCAM(
        FrozenBackbone(model, output=lambda output: output["out"].mean(dim=(2, 3))).model, "backbone.layer4"
    )
    torch.testing.assert_close(maps, by_logits.attribute(one, 1))


def test_the_inversion_mask_of_a_region(segmenter: nn.Module, scene: Tensor) -> None:
    method = InversionMask(segmenter, "backbone.4", inversion_steps=1, class_steps=2)
    masks = method.attribute(scene[:1], RegionScore(2))
    assert masks.shape == (1, 1, 64, 64)
    assert masks.min() >= 0
    assert masks.max() <= 1


@pytest.fixture(scope="module", params=["ssdlite320", "fasterrcnn"])
def detector(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    settings = {"weights": None, "weights_backbone": None, "num_classes": 3}
    if request.param == "ssdlite320":
        return detection.ssdlite320_mobilenet_v3_large(**settings, score_thresh=0.0, topk_candidates=20).eval()
    sizes = {"min_size": 64, "max_size": 64, "box_score_thresh": 0.0, "rpn_post_nms_top_n_test": 20}
    return detection.fasterrcnn_mobilenet_v3_large_320_fpn(**settings, **sizes).eval()


def test_a_detection(detector: nn.Module, scene: Tensor) -> None:
    one = scene[:1]
    with torch.no_grad():
        found = detector(one)[0]
    place = int((found["labels"] == 1).nonzero()[0])
    score = DetectionScore(1, found["boxes"][place].tolist())
    with torch.no_grad():
        assert score(detector(one)).item() == pytest.approx(found["scores"][place].item(), rel=1e-4)
    saliency = Saliency(detector).attribute(one, score)
    torch.testing.assert_close(saliency, gradient(detector, one, score).abs(), rtol=1e-3, atol=1e-7)
    assert saliency.max() > 0
    assert IntegratedGradients(detector, steps=2).attribute(one, score).isfinite().all()


def test_a_list_of_images_is_explained_as_a_batch(detector: nn.Module, scene: Tensor) -> None:
    score = DetectionScore(2)
    with torch.no_grad():
        of_list, of_batch = score(detector(list(scene))), score(detector(scene))
    torch.testing.assert_close(of_list, of_batch)
    together = Saliency(detector).attribute(scene, score)
    alone = torch.cat([Saliency(detector).attribute(one[None], score) for one in scene])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-7)


def test_no_detection_scores_zero_with_a_gradient() -> None:
    scores = torch.rand(4, requires_grad=True)
    found = {"boxes": torch.rand(4, 4), "labels": torch.ones(4, dtype=torch.long), "scores": scores}
    score = DetectionScore(2)([found])
    assert score.tolist() == [0]
    score.sum().backward()
    assert scores.grad is not None


def test_outputs_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="list of dicts"):
        DetectionScore(1)(torch.zeros(2, 3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"class 7"):
        RegionScore(7)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"region is \(2, 2\)"):
        RegionScore(1, torch.ones(2, 2))(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="no pixels"):
        RegionScore(1, torch.zeros(2, 2))
