"""What the predictor of channel weights reads, and that it learns."""

import pytest
import torch
from torch import Tensor, nn

from vitrine.attribution.inversion import (
    InversionObjective,
    InvertedNetwork,
    WeightPredictor,
    inversion_layers,
    settings_of,
)


@pytest.mark.parametrize("start", [0.1, 1e-3, 2.0])
def test_before_training_it_gives_the_start(start: float) -> None:
    predictor = WeightPredictor(5, hidden=8, start=start)
    actual = predictor(torch.randn(3, 5, 4))
    torch.testing.assert_close(actual, torch.full((3, 5), start), rtol=1e-4, atol=0)


def test_what_it_gives_is_positive_and_of_each_row_alone() -> None:
    torch.manual_seed(0)
    predictor = WeightPredictor(5, hidden=8)
    for parameter in predictor.parameters():
        nn.init.normal_(parameter)
    evidence = 100 * torch.randn(3, 5, 4)
    actual = predictor(evidence)
    assert bool((actual >= 0).all())
    torch.testing.assert_close(predictor(evidence[1:2]), actual[1:2])
    order = torch.tensor([4, 2, 0, 1, 3])
    with torch.no_grad():
        predictor.embedding.zero_()
        torch.testing.assert_close(predictor(evidence[:, order]), predictor(evidence)[:, order])


def test_it_learns_the_losses_of_masks(inverted_net: nn.Module, inverted_images: Tensor) -> None:
    torch.manual_seed(0)
    settings = settings_of("paper", class_penalty=0.01)
    layers = inversion_layers(inverted_net, inverted_images)
    network = InvertedNetwork(inverted_net, layers, settings)
    reading = network.read(inverted_images, evidence=True)
    objective = InversionObjective.of(network, settings, inverted_images, reading)
    predictor = WeightPredictor(12, hidden=16).double()
    adam = torch.optim.Adam(predictor.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = objective.class_loss(predictor(reading.evidence)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.04
    assert all(parameter.grad is None for parameter in inverted_net.parameters())
