"""Settings pass together where their heads have equal shapes, read the same layer, and have the same terms."""

import pytest
import torch

from lightning_modules.grouped_fit import Samples
from lightning_modules.setting_group import grouped, heads_of
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.networks import build_network
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.explainers.srae.settings import Setting, settings_of

BASE = Setting(SRAEOptions("features.2", hidden=(8,), num_features=3, image_size=32), SRAETraining())


def made(lists: dict[str, list[object]]) -> tuple[dict[str, Setting], dict[str, SRAEExplainer]]:
    torch.manual_seed(0)
    backbone = FrozenBackbone(build_network("squeezenet1_1", num_classes=2))
    settings = settings_of(BASE, lists)
    return settings, {name: SRAEExplainer(backbone, setting.srae) for name, setting in settings.items()}


@pytest.mark.parametrize(
    ("lists", "sizes"),
    [
        ({"beta": [1.0, 2.0], "eta": [0.0, 1.0]}, [4]),
        ({"beta": [1.0, 2.0], "num_features": [2, 3]}, [2, 2]),
        ({"q": [1.0, 2.0]}, [1, 1]),
        ({"layer": ["features.2", "features.5"]}, [1, 1]),
        ({"objective": ["srae", "nn"]}, [1, 1]),
    ],
)
def test_settings_are_grouped(lists: dict[str, list[object]], sizes: list[int]) -> None:
    groups = grouped(*made(lists))
    assert [len(group.names) for group in groups] == sizes


def test_the_loss_weighs_terms_as_each_setting_says() -> None:
    settings, explainers = made({"beta": [1.0, 2.0], "eta": [0.0, 3.0]})
    (group,) = grouped(settings, explainers)
    features, logits = torch.rand(6, 64), torch.randn(6, 2)
    samples = Samples(features, logits, torch.zeros(6, 2, dtype=torch.bool), None, logits)
    loss, means = group.step(features, samples, [[1.0, 1.0]] * 4, torch.arange(2))
    total = 0.0
    for name, setting in settings.items():
        faithful, rebuilt, apart = (
            float(means[f"train/{name}/loss/{term}"]) for term in ("faithfulness", "reconstruction", "pull_away")
        )
        own = faithful + setting.training.beta * rebuilt + setting.training.eta * apart
        assert float(means[f"train/{name}/loss"]) == pytest.approx(own, rel=1e-5)
        total += 2 * own
        estimates = heads_of(explainers[name]).estimates(features)
        assert float(means[f"train/{name}/f_reg"]) == pytest.approx(float((estimates - logits).abs().mean()), rel=1e-5)
    assert float(loss) == pytest.approx(total, rel=1e-5)


def test_heads_on_a_shared_trunk_are_refused() -> None:
    torch.manual_seed(0)
    backbone = FrozenBackbone(build_network("squeezenet1_1", num_classes=2))
    options = SRAEOptions("features.2", hidden=(8,), image_size=32, trunk="shared")
    with pytest.raises(ValueError, match="trunk: separate"):
        heads_of(SRAEExplainer(backbone, options))
