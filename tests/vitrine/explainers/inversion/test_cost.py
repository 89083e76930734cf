"""What masks will cost, from measured steps."""

import re

import pytest
import torch
from torch import nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers import InversionExplainer, InversionOptions
from vitrine.explainers.inversion import cost
from vitrine.explainers.inversion.cost import forecast, seconds_per_mask


@pytest.fixture
def explainer(network: nn.Module) -> InversionExplainer:
    options = InversionOptions(variant="paper", image_size=16, overrides={"inversion_steps": 3, "class_steps": 20})
    return InversionExplainer(FrozenBackbone(network), options)


def test_each_stage_counts_with_its_steps(explainer: InversionExplainer, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"inversion_steps": {1: 10.0, 3: 14.0}, "class_steps": {1: 20.0, 3: 30.0}}
    monkeypatch.setattr(cost, "_seconds", lambda _explainer, stage, _images, count: times[stage][count])
    assert seconds_per_mask(explainer, torch.randn(2, 3, 16, 16)) == (3 * 2 + 20 * 5) / 2


def test_without_steps_nothing_is_measured(network: nn.Module) -> None:
    options = InversionOptions(image_size=16)
    assert seconds_per_mask(InversionExplainer(FrozenBackbone(network), options), torch.randn(1, 3, 16, 16)) == 0


def test_the_sentence(explainer: InversionExplainer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = explainer.settings
    told = forecast(explainer, torch.randn(2, 3, 16, 16), 100)
    assert re.match(r"23 steps a mask take about \S+ s on cpu: 0:\d\d:\d\d for 100 masks\.", told)
    assert explainer.settings is before
    monkeypatch.setattr(cost, "seconds_per_mask", lambda *_arguments: 24.0)
    assert "24 s on cpu: 2:00:00 for 300 masks" in forecast(explainer, torch.randn(2, 3, 16, 16), 300)
