"""Inversion problems: the losses of a batch and the initial channel weights ω, constant or predicted."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrine.attribution.inversion.network import ClassesOf, InvertedNetwork, Reading, predicted
from vitrine.attribution.inversion.objective import InversionObjective
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.core.precision import without_autocast

EVIDENCE = 4
"""Numbers for each channel, see `vitrine.attribution.inversion.network.channel_evidence`."""


class WeightPredictor(nn.Module):
    """Predicts ω of each channel from its evidence for the explained class, by one network shared by all channels.

    It sees the class only through the gradient of the class's logit, so it can also be used for classes that were not seen in
    training. What is the same in all images, such as that a channel is one of backgrounds, is learned as its embedding.

    Args:
        channels: n.
        hidden: units of the two hidden layers.
        embedding: size of the embedding of each channel.
        start: ω of every channel before training.
    """

    def __init__(self, channels: int, hidden: int = 64, embedding: int = 8, start: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(channels, embedding))
        last = nn.Linear(hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(math.expm1(start)))
        self.layers = nn.Sequential(
            nn.Linear(2 * EVIDENCE + embedding, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last
        )

    def forward(self, evidence: Tensor) -> Tensor:
        """(B, n) ω > 0 from (B, n, 4) evidence, which is an input as it is and by its signed logarithm."""
        logarithm = evidence.sign() * evidence.abs().log1p()
        embedding = self.embedding.expand(len(evidence), -1, -1)
        inputs = torch.cat([evidence.clamp(-10, 10), logarithm, embedding], dim=2)
        return F.softplus(self.layers(inputs).squeeze(2))


class InversionProblem(NamedTuple):
    """The losses of a batch and the initial weights."""

    objective: InversionObjective
    reading: Reading
    start: Tensor
    """(B, n) ω before the first step; if it is predicted, with gradient to the predictor."""


def make_problem(
    network: InvertedNetwork,
    settings: InversionSettings,
    images: Tensor,
    classes_of: ClassesOf = predicted,
    predictor: WeightPredictor | None = None,
    seed: int = 0,
) -> InversionProblem:
    """Makes the problem of a batch, by one forward pass.

    Args:
        network: whose model is under `eval_guard`.
        settings: of the losses; those of the network hold for its forward pass.
        images: (B, 3, H, W).
        classes_of: as in `InvertedNetwork.read`.
        predictor: of ω; if it is None, ω of every channel starts at ``settings.start``.
        seed: of the background ``noise``.
    """
    images = images.detach().clone(memory_format=torch.channels_last)  # twice as fast on a CPU
    reading = network.read(images, classes_of, evidence=predictor is not None)
    objective = InversionObjective.of(network, settings, images, reading, seed)
    if predictor is None or reading.evidence is None:
        return InversionProblem(objective, reading, objective.even_weights())
    with without_autocast(images):
        weights = predictor(reading.evidence)
        # Multiples of ω give the same mask: without a fixed mean, penalties would shrink ω in training without end.
        return InversionProblem(objective, reading, weights * (settings.start / weights.mean(dim=1, keepdim=True)))
