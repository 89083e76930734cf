"""Several explainers of one network: by name, each with a folder of its own, and refused under the option that names them."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_modules.several import SeveralExplainersModule
from tests.lightning_modules.test_attribution import FLOWER_NET
from vitrine.backbones import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.options import OptionError
from vitrine.explainers import Explainer
from vitrine.explainers.attribution import AttributionExplainer, AttributionOptions


class Named(SeveralExplainersModule):
    named_in = "settings"


def made() -> dict[str, Explainer]:
    network = FrozenBackbone.from_options(FLOWER_NET)
    return {
        "plain": AttributionExplainer(network, AttributionOptions("Saliency")),
        "summed": AttributionExplainer(network, AttributionOptions("Saliency", reduction="sum")),
        "CAM": AttributionExplainer(network, AttributionOptions("GradCAM")),
    }


def test_each_explains_the_same_images_as_it_would_alone(tmp_path: Path) -> None:
    explainers = made()
    module = SeveralExplainersModule(explainers)
    module.trainer = pl.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = module.predict_step(Batch(image=images, key=["a", "b", "c"]))
    assert list(found) == ["plain", "summed", "CAM"]
    for name, explainer in made().items():
        torch.testing.assert_close(found[name].heatmaps, explainer.explain(images).heatmaps)
        assert module.explainer_named(name) is explainers[name]
        assert module.explainer_folders[name] == tmp_path / "explainers" / name


@pytest.mark.parametrize("name", ["", ".a", "a/b", "a:b"])
def test_names_are_those_of_folders(name: str) -> None:
    explainer = next(iter(made().values()))
    with pytest.raises(OptionError, match=r"settings is .* names that a folder may have"):
        Named({name: explainer})
    with pytest.raises(OptionError, match="at least one entry by its name"):
        Named({})
