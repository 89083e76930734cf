"""X-features drawn by excitation backprop or LRP."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution import LRP, excitation_maps
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import SRAEExplainer
from vitrine.explainers.srae.drawing import Drawing
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.x_features import logit_maps

IMAGES = torch.rand(2, 3, 12, 12)


def backbone() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU())
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


def explainer(**options: object) -> SRAEExplainer:
    torch.manual_seed(1)
    given = SRAEOptions(layer="2", pooling="none", num_features=3, hidden=(5,), image_size=12, **options)  # type: ignore[arg-type]
    return SRAEExplainer(FrozenBackbone(backbone()), given)


def test_by_excitation_backprop_it_is_that() -> None:
    network, indices = backbone(), torch.tensor([[0, 2], [1, 3]])
    maps, outputs, aux = Drawing(contrastive=False).maps(lambda x: (network(x), "aux"), IMAGES, indices)
    expected, logits = excitation_maps(network, IMAGES, indices, contrastive=False)
    torch.testing.assert_close(maps, expected)
    torch.testing.assert_close(outputs, logits)
    assert aux == "aux"


@pytest.mark.parametrize("lrp", ["epsilon", "attn"])
def test_by_lrp_a_heatmap_is_gradient_times_input_of_the_x_feature(lrp: str) -> None:
    drawn = explainer(lrp=lrp, draw_inactive=True)
    explanation = drawn.explain(IMAGES, target=1)
    row = torch.tensor([drawn.explained_classes.index(1)])

    def x_features(images: Tensor) -> Tensor:
        features = drawn.backbone.model[:3](images)  # type: ignore[index]
        return drawn.heads.embed(features, row.expand(len(images)))

    for number in range(3):
        pixels = IMAGES.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(x_features(pixels)[:, number].sum(), pixels)
        torch.testing.assert_close(
            explanation.heatmaps[:, number], (gradient * IMAGES).sum(dim=1), rtol=1e-4, atol=1e-6
        )


def test_maps_of_the_logit_are_of_the_same_kind() -> None:
    drawn = explainer(lrp="epsilon_gamma_box")
    expected = LRP(drawn.backbone.model, composite="epsilon_gamma_box").attribute(IMAGES, 2).sum(dim=1, keepdim=True)
    torch.testing.assert_close(logit_maps(drawn, IMAGES, 2), expected)
    assert explainer().options.drawing == Drawing()
