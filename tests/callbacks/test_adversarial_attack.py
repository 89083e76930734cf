"""Attacks beside a test: the figures of the plain functions, and refused options."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.adversarial_attack import AdversarialAttack
from tests.callbacks.test_two_objects import ChannelModule, Data, coloured
from tests.helpers.red_explainer import Module, trainer
from vitrine.core.batch import Batch
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


class Rounded(nn.Module):
    """On an image of ones, class 0 in bfloat16 (2.016 and 2), class 1 in single precision (2.008 and 2.0115)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)
        self.linear.weight.data = torch.tensor([[1.004, 1.004, 0], [1, 1.0115, 0], [0, 0, 0]])

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.mean(dim=(2, 3)))
        return logits


class Ones(Data):
    def test_dataloader(self) -> Any:
        return DataLoader([Batch(image=torch.ones(1, 3, 8, 8), key=["a"])], batch_size=None)  # type: ignore[arg-type]


def test_no_class_changes_by_the_precision_alone(tmp_path: Path) -> None:
    run = trainer(tmp_path, AdversarialAttack([1e-6]), precision="bf16-mixed")
    run.test(ChannelModule(Rounded()), datamodule=Ones(), verbose=False)
    assert run.callback_metrics["test/attack/flipped"] == 0
    ones = torch.ones(1, 3, 8, 8)
    assert Rounded()(ones).argmax() == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert Rounded()(ones).argmax() == 0


@pytest.mark.parametrize("epsilons", [[], [2, 1], [1, 1], [-1]])
def test_wrong_strengths(epsilons: list[float]) -> None:
    with pytest.raises(ValueError, match="epsilons"):
        AdversarialAttack(epsilons)


def test_needs_an_explainer(tmp_path: Path) -> None:
    module = Module()
    module.explainer = None
    with pytest.raises(ValueError, match="AdversarialAttack needs a module with an explainer"):
        trainer(tmp_path, AdversarialAttack()).test(module, datamodule=Data(), verbose=False)
