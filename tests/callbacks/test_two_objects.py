"""Two objects beside a test: pairs of recognised images, and the figures of the plain metric."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks.two_objects import TwoObjects, paired
from tests.helpers.image_data import ImageData
from tests.helpers.red_explainer import Module, trainer
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import Explainer
from vitrine.metrics.two_objects import TwoObjects as TwoObjectsMetric
from vitrine.metrics.two_objects import canvases


class Channels(Explainer):
    """Class c is the mean of channel c, and its map is the channel."""

    def explain_batch(self, images: Any, target: Any) -> Explanation:
        logits = self.backbone(images).logits
        classes = logits.argmax(dim=1) if target is None else target
        maps = images[torch.arange(len(images)), classes][:, None]
        return Explanation(
            maps, torch.ones(len(images), 1), [["map"]] * len(images), logits.argmax(dim=1), classes, logits
        )


class ChannelMeans(nn.Module):
    def forward(self, images: Any) -> Any:
        return images.mean(dim=(2, 3))


class ChannelModule(Module):
    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.explainer = Channels(FrozenBackbone(network or ChannelMeans()))


def coloured() -> Any:
    """Six images of noise, each brighter in one channel: 0, 1, 1, 2, 0, 0."""
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for row, channel in enumerate([0, 1, 1, 2, 0, 0]):
        images[row, channel] += 1
    return images


class Data(ImageData):
    preprocessing = Preprocessing(size=8, resize=None)

    def test_dataloader(self) -> Any:
        return DataLoader([Batch(image=coloured(), key=list("abcdef"))], batch_size=None)  # type: ignore[arg-type]


def test_pairs_meet_the_next_of_another_class() -> None:
    assert paired([0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 0, 0]) == [(0, 1), (2, 3)]
    assert paired([0, 4, 5], [0, 1, 1, 2, 0, 0]) == []


@pytest.mark.parametrize(("top", "pairs"), [(2, 2), (1, 0), (0, 2)])
def test_the_figures_are_those_of_the_plain_metric(top: int, pairs: int, tmp_path: Path) -> None:
    run, module = trainer(tmp_path, TwoObjects(top=top)), ChannelModule()
    run.test(module, datamodule=Data(), verbose=False)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    assert found["test/two_objects/pairs"] == pairs
    images = coloured()
    canvas = canvases(images[[0, 2]], images[[1, 3]])
    maps = torch.stack([canvas[[0, 1], [0, 1]], canvas[[0, 1], [1, 2]]], dim=1)
    metric = TwoObjectsMetric()
    if pairs:
        metric.update(maps)
        expected = {f"test/{name}": float(value) for name, value in metric.compute().items()}
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert found["test/two_objects/own_half"] > 0.6


def test_whole_and_joined_images_are_classified_in_one_precision(tmp_path: Path) -> None:
    found: list[torch.dtype] = []

    class Recorded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3, bias=False)
            self.linear.weight.data = torch.eye(3)

        def forward(self, images: Any) -> Any:
            logits = self.linear(images.mean(dim=(2, 3)))
            found.append(logits.dtype)
            return logits

    run = trainer(tmp_path, TwoObjects(top=2), precision="bf16-mixed")
    run.test(ChannelModule(Recorded()), datamodule=Data(), verbose=False)
    assert run.callback_metrics["test/two_objects/pairs"] == 2
    assert set(found) == {torch.bfloat16}


def test_needs_an_explainer(tmp_path: Path) -> None:
    module = Module()
    module.explainer = None
    with pytest.raises(ValueError, match="TwoObjects needs a module with an explainer"):
        trainer(tmp_path, TwoObjects()).test(module, datamodule=Data(), verbose=False)
