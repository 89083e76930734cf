"""Modules without a fit: they need no checkpoint and no labels, and refuse to be fitted in one sentence."""

from pathlib import Path

import pytest
import pytorch_lightning as pl

from lightning_modules.untrained import UntrainedModule
from tests.lightning_modules.test_attribution import FLOWER_NET, QUIET, flowers
from vitrine.backbones import FrozenBackbone
from vitrine.explainers.attribution import AttributionExplainer


class Own(UntrainedModule):
    untrained = "My method"


def test_a_fit_is_refused_and_a_test_needs_neither_checkpoint_nor_labels(flower_shards: Path, tmp_path: Path) -> None:
    module = Own(AttributionExplainer(FrozenBackbone.from_options(FLOWER_NET)))
    assert not module.needs_checkpoint
    assert not module.needs_labels
    with pytest.raises(ValueError, match=r"My method needs no training.*train\.py predict"):
        pl.Trainer(default_root_dir=tmp_path, max_epochs=1, **QUIET).fit(module, datamodule=flowers(flower_shards))
