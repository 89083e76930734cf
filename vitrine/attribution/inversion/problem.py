"""From a batch of images to the losses of its masks and the channel weights that they start from."""

from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.attribution.inversion.network import ClassesOf, InvertedNetwork, Reading, predicted
from vitrine.attribution.inversion.objective import InversionObjective
from vitrine.attribution.inversion.predictor import WeightPredictor
from vitrine.attribution.inversion.settings import InversionSettings
from vitrine.attribution.precision import without_autocast


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
