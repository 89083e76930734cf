from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.class_matching import NetworkClasses
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.chosen import chosen_explainers
from vitrine.explain.network import ExplainedNetwork
from vitrine.explainers.attribution import AttributionExplainer
from vitrine.explainers.inversion.explainer import InversionExplainer


def test_names_are_methods_fitted_explainers_and_masks(flower_network: ExplainedNetwork) -> None:
    chosen = chosen_explainers(flower_network, ["grad-cam", "EBP", "srae", "μ-Lasso", "inversion", "GradCAM"], seed=3)
    assert list(chosen.ready) == ["GradCAM", "EBP", "InversionMask"]
    assert chosen.fitted == ["SRAE", "MuLasso"]
    method = chosen.ready["EBP"]
    assert isinstance(method, AttributionExplainer)
    assert isinstance(method.method, ExcitationBackprop)
    assert method.options.arguments == {"contrastive": True}
    assert isinstance(chosen.ready["InversionMask"], InversionExplainer)


def test_random_methods_get_the_seed(flower_network: ExplainedNetwork) -> None:
    explainer = chosen_explainers(flower_network, ["SmoothGrad"], seed=3).ready["SmoothGrad"]
    assert isinstance(explainer, AttributionExplainer)
    assert explainer.options.arguments == {"seed": 3}


def test_a_saved_explainer_is_named_by_its_folder(tmp_path: Path, flower_network: ExplainedNetwork) -> None:
    explainer = chosen_explainers(flower_network, ["LRP"], seed=0).ready["LRP"]
    folder = tmp_path / "my_run" / "explainer"
    explainer.save(folder)
    assert list(chosen_explainers(flower_network, [str(folder)], seed=0).ready) == ["Attribution (my_run)"]
    alone = replace(flower_network, explainer=explainer)
    assert list(chosen_explainers(alone, [], seed=0).ready.values()) == [explainer]


def test_usual_methods_that_do_not_work_are_left_out_and_told(flower_network: ExplainedNetwork) -> None:
    assert list(chosen_explainers(flower_network, [], seed=0).ready) == ["GradCAM", "EBP", "LRP"]
    linear = FrozenBackbone(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)))
    network = ExplainedNetwork(linear, Preprocessing(16, 16), NetworkClasses(2, None), "")
    chosen = chosen_explainers(network, [], seed=0)
    assert "GradCAM" not in chosen.ready
    assert chosen.notes[0].startswith("GradCAM is left out: ")


@pytest.mark.parametrize(
    ("name", "told"), [("GardCAM", "near names: GradCAM"), ("UpsampledActivation", "explains classes")]
)
def test_names_that_explain_nothing_are_refused(name: str, told: str, flower_network: ExplainedNetwork) -> None:
    with pytest.raises(ValueError, match=told):
        chosen_explainers(flower_network, [name], seed=0)
