"""One batch to be optimised: its losses, and the channel weights ω to start from, constant or predicted."""

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
"""Numbers of a channel, see `vitrine.attribution.inversion.network.channel_evidence`."""


class WeightPredictor(nn.Module):
    """ω of each channel from what the image and the explained class say of it, by one network shared by all channels.

    A channel's class comes in by the gradient of the class's logit alone, so the predictor also holds for classes that were
    not seen in training. What is the same in all images, such as a channel of backgrounds, is learned as its embedding.

    Args:
        channels: n.
        hidden: units of the two hidden layers.
        embedding: numbers learned of each channel.
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
        """(B, n) ω > 0 from (B, n, 4) evidence, which is read as it is and by its signed logarithm."""
        logarithm = evidence.sign() * evidence.abs().log1p()
        embedding = self.embedding.expand(len(evidence), -1, -1)
        read = torch.cat([evidence.clamp(-10, 10), logarithm, embedding], dim=2)
        return F.softplus(self.layers(read).squeeze(2))


class InversionProblem(NamedTuple):
    """What is to be optimised."""

    objective: InversionObjective
    reading: Reading
    start: Tensor
    """(B, n) ω before the first step; where it is predicted, the graph leads to the predictor."""


def pose(
    network: InvertedNetwork,
    settings: InversionSettings,
    images: Tensor,
    classes_of: ClassesOf = predicted,
    predictor: WeightPredictor | None = None,
    seed: int = 0,
) -> InversionProblem:
    """The problem of a batch, by one forward pass.

    Args:
        network: behind glass.
        settings: of the losses; what is read follows those of the network.
        images: (B, 3, H, W).
        classes_of: as in `InvertedNetwork.read`.
        predictor: of ω; every channel starts at ``settings.start`` without it.
        seed: of the background ``noise``.
    """
    images = images.detach().clone(memory_format=torch.channels_last)  # twice as fast on a CPU
    reading = network.read(images, classes_of, evidence=predictor is not None)
    objective = InversionObjective.of(network, settings, images, reading, seed)
    if predictor is None or reading.evidence is None:
        return InversionProblem(objective, reading, reading.maps.even_weights(settings.start))
    with without_autocast(images):
        found = predictor(reading.evidence)
        # The mask is that of any multiple: penalties would shrink ω in training without end, and steps overrun it.
        return InversionProblem(objective, reading, found * (settings.start / found.mean(dim=1, keepdim=True)))
