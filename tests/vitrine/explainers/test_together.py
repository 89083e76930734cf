import torch
from torch import nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import Explainer, InversionExplainer, InversionOptions
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.explainers.together import explain_together


def test_each_explanation_is_that_of_the_explainer_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    backbone = FrozenBackbone(model)
    explainers: dict[str, Explainer] = {
        name: AttributionExplainer(backbone, AttributionOptions(name, image_size=16))
        for name in ("GradCAM", "Saliency", "LRP")
    }
    explainers["mask"] = InversionExplainer(backbone, InversionOptions(image_size=16))
    images, target = torch.rand(3, 3, 16, 16), torch.tensor([2, 0, 3])
    logits = backbone(images).logits
    for wanted in (target, None):
        found = explain_together(explainers, images, logits, wanted)
        assert list(found) == list(explainers)
        for name, explainer in explainers.items():
            alone = explainer.explain(images, wanted)
            torch.testing.assert_close(found[name].heatmaps, alone.heatmaps)
            torch.testing.assert_close(found[name].scores, alone.scores)
            assert torch.equal(found[name].target, alone.target)
            assert found[name].labels == alone.labels
