"""Model cards: what they say of an explainer, and that its figures are the ones given."""

import json
from pathlib import Path

from tests.helpers.own_network import OwnNetwork
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import MuLassoExplainer, MuLassoOptions, SRAEExplainer, SRAEOptions
from vitrine.explainers.card import CARD_NAME, UNTESTED, card_text
from vitrine.explainers.saving import CONFIG_NAME


def test_the_card_of_a_saved_explainer(tmp_path: Path) -> None:
    options = SRAEOptions("relu", hidden=(), image_size=16)
    names = ["ant", "a|b", "cat"]
    explainer = SRAEExplainer(FrozenBackbone(OwnNetwork()), options, names, Preprocessing(16, 20))
    explainer.save(tmp_path / "explainer", metadata={"epochs": 3, "alive_features": {"ant": 2}, "gap": 0.000123456})
    card = (tmp_path / "explainer" / CARD_NAME).read_text(encoding="utf-8")
    for part in (
        "# SRAEExplainer of OwnNetwork",
        "| network | `tests.helpers.own_network:OwnNetwork`",
        "| layer | relu |",
        "| classes | 3: ant, a\\|b, cat |",
        "short side 20, centre 16 × 16 pixels",
        "| alive features | ant 2 |",
        "| gap | 0.0001235 |",
        'vitrine.load("FOLDER", backbone=NETWORK)',
        UNTESTED,
    ):
        assert part in card, part
    assert "## Figures" not in card


def test_figures_of_a_test(tmp_path: Path) -> None:
    backbone = FrozenBackbone("squeezenet1_1", num_classes=3)
    MuLassoExplainer(backbone, MuLassoOptions(["features.12"], num_heatmaps=2, image_size=32)).save(tmp_path)
    config = json.loads((tmp_path / CONFIG_NAME).read_text(encoding="utf-8"))
    card = card_text(config | {"metadata": {"figures": {"test/f_reg": 0.83774948}, "data": "Flowers."}})
    for part in (
        "# MuLassoExplainer of squeezenet1_1",
        "| f_reg ↓ | 0.8377 logits: ",
        "| data | Flowers. |",
        'load("FOLDER")',
    ):
        assert part in card, part
    assert UNTESTED not in card
    assert "| classes | not named |" in card
