"""Attacks beside a test: the figures of the plain functions, and refused options."""

from pathlib import Path

import pytest
import torch

from callbacks.adversarial_attack import AdversarialAttack
from tests.callbacks.test_two_objects import ChannelModule, Data, coloured
from tests.helpers.red_explainer import Module, trainer
from vitrine.metrics.adversarial import AdversarialAgreement, attack


def test_the_figures_are_those_of_the_plain_functions(tmp_path: Path) -> None:
    """Of all images, which the network recognises by their prediction."""
    run, module, data = trainer(tmp_path, AdversarialAttack([100, 200], seed=4)), ChannelModule(), Data()
    run.test(module, datamodule=data, verbose=False)
    found = {name: float(value) for name, value in run.callback_metrics.items() if name.startswith("test/attack")}
    images, labels = coloured(), torch.tensor([0, 1, 1, 2, 0, 0])
    explainer = module.explainer
    attacked = attack(explainer.backbone.model, images, labels, [100 / 255, 200 / 255], data.preprocessing, 4)  # type: ignore[arg-type,union-attr]
    on = attacked.flipped
    assert int(on.sum()) > 0
    rows = torch.arange(6)
    metric = AdversarialAgreement()
    metric.update(
        attacked,
        images[rows, labels][on],
        attacked.images[rows, labels][on],
        attacked.noise[rows, labels][on],
        attacked.images[rows, attacked.prediction][on],
    )
    expected = {f"test/{name}": float(value) for name, value in metric.compute().items()}
    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("epsilons", [[], [2, 1], [1, 1], [-1]])
def test_wrong_strengths(epsilons: list[float]) -> None:
    with pytest.raises(ValueError, match="epsilons"):
        AdversarialAttack(epsilons)


def test_needs_an_explainer(tmp_path: Path) -> None:
    module = Module()
    module.explainer = None
    with pytest.raises(ValueError, match="AdversarialAttack needs a module with an explainer"):
        trainer(tmp_path, AdversarialAttack()).test(module, datamodule=Data(), verbose=False)
