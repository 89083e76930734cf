"""Which explainers are one forward pass, and the sentence for those that are not."""

from collections.abc import Callable

import pytest

from tests.helpers.exported_networks import SIDE, built, by_method, srae
from vitrine.explainers import Explainer
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions
from vitrine.export.class_maps import ClassMapNetwork
from vitrine.export.forward_networks import forward_network
from vitrine.export.head_networks import XFeatureNetwork

REFUSED = [
    (lambda: by_method("LRP"), "LRP needs backward passes or many forward passes"),
    (lambda: by_method("GradCAMPlusPlus"), "or CAM or GradCAM on a network that ends in average pooling"),
    (lambda: by_method("InversionMask"), "InversionExplainer finds its heatmaps by backward passes"),
    (lambda: AttributionExplainer(built(), AttributionOptions("CAM", sigma=1.0, image_size=SIDE)), "sigma blurs"),
]


def test_each_kind_has_its_network() -> None:
    assert isinstance(forward_network(srae(), SIDE), XFeatureNetwork)
    assert isinstance(forward_network(by_method("CAM"), SIDE), ClassMapNetwork)


@pytest.mark.parametrize(("explainer", "says"), REFUSED)
def test_what_is_no_forward_pass_is_refused(explainer: Callable[[], Explainer], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        forward_network(explainer(), SIDE)
