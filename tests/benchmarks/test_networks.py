"""The table of networks, methods and explainers says what works, and conservation is measured."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from benchmarks import networks
from benchmarks.networks import Network, Refusals
from vitrine.attribution.registry import all_methods
from vitrine.explainers.capabilities import Trial


class Convolutional(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


def transformer() -> nn.Module:
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 3}
    return timm.create_model("vit_tiny_patch16_224", **options)


def test_two_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"convolutional": Network(Convolutional, 16), "transformer": Network(transformer, 16)}
    monkeypatch.setattr(networks, "NETWORKS", tiny)
    out = tmp_path / "tables.json"
    monkeypatch.setattr(sys, "argv", ["networks", "--device", "cpu", "--out", str(out)])
    networks.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found["tried"]) == list(tiny)
    for tried in found["tried"].values():
        assert list(tried)[:-3] == list(all_methods())
        assert [name.partition(" ")[2] for name in list(tried)[-3:]] == ["SRAE", "MuLasso", "InversionMask"]
        assert not [trial["reason"] for trial in tried.values() if trial["is_fault"]]
    smooth, attending = found["tried"].values()
    assert not smooth["Deconvnet"]["works"]
    assert smooth["Deconvnet"]["reason"]
    assert "NETWORK" in smooth["AttentionRollout"]["reason"]
    assert attending["AttentionRollout"]["works"]
    assert smooth["explainer SRAE"]["works"]
    assert attending["explainer SRAE"]["works"]
    for values in found["conservation"].values():
        assert values["EBP: mass that arrives"] + values["EBP: mass_lost"] == pytest.approx(1)
    assert found["conservation"]["transformer"]["LRP: relevance / logit"] == pytest.approx(1, rel=1e-9)
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "|  | convolutional | transformer |" in text
    assert f"1. {next(trial['reason'] for trial in smooth.values() if not trial['works'])}" in text


def test_equal_sentences_have_one_number_and_faults_are_marked() -> None:
    refusals = Refusals()
    trials = [
        Trial(works=True),
        Trial(works=False, reason="Name a layer."),
        Trial(works=False, reason="size 3", is_fault=True),
    ]
    assert [refusals.cell(trial) for trial in [*trials, trials[1]]] == ["works", "1", "fault 2", "1"]
    assert refusals.sentences == ["Name a layer.", "Fault: size 3"]


def test_added_constants_are_zero() -> None:
    torch.manual_seed(0)
    images = torch.randn(1, 3, 16, 16, dtype=torch.double)
    model = networks.without_constants(transformer())
    torch.testing.assert_close(model(0 * images), torch.zeros(1, 3, dtype=torch.double))
    assert model(images).abs().max() > 0
