"""Predicts the channel weights of an inversion mask, in place of optimising them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
