"""The explanation module of one class (section 2.3 of Qi, Khorram and Li 2018)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn


class HeadOutput(NamedTuple):
    """What a head makes of Z; with P positions, B images have B·P rows of Z."""

    embedding: Tensor
    """(B, n) x-features E."""
    decoded: Tensor | None
    """(B·P, d) the decoder's Z; None of a head without decoder."""
    estimate: Tensor
    """(B,) ȳ = vᵀE."""
    local: Tensor
    """(B·P, n) x-features of each position; E itself where P = 1."""


class SRAEHead(nn.Module):
    """Encoder E_θ, its mirror E_θ̃⁻¹, and a linear predictor v.

    Over a convolutional layer whose positions are kept apart (`TappedFeatures`, pooling ``positions``), encoder and decoder
    act on each position alike, and an x-feature is the mean of its activations there.

    Args:
        features: d, size of Z.
        x_features: n, size of the explanation space.
        hidden: widths between them.
        decoder: whether there is a decoder.
        positions: P, vectors Z an image.
    """

    def __init__(
        self, features: int, x_features: int, hidden: Sequence[int], *, decoder: bool = True, positions: int = 1
    ) -> None:
        super().__init__()
        widths = [features, *hidden, x_features]
        self.encoder = perceptron(widths)
        self.encoder.append(nn.ReLU())
        self.decoder = perceptron(widths[::-1]) if decoder else None
        self.predictor = nn.Linear(x_features, 1, bias=False)
        self.register_buffer("live", torch.ones(x_features, dtype=torch.bool))
        self.positions = positions
        self._bring_to_life()

    live: Tensor
    """(n,) bool: which x-features take part; one that was dropped is 0."""

    def forward(self, features: Tensor) -> HeadOutput:
        """Of Z (B, P·d)."""
        local = self.encoder(self.rows_of(features)) * self.live
        embedding = self._pooled(local)
        decoded = None if self.decoder is None else self.decoder(local)
        return HeadOutput(embedding, decoded, self.predict(embedding), local)

    def rows_of(self, features: Tensor) -> Tensor:
        """(B·P, d) rows of Z (B, P·d)."""
        return features if self.positions == 1 else features.reshape(len(features) * self.positions, -1)

    def embed(self, features: Tensor) -> Tensor:
        """(B, n) x-features E of Z (B, P·d)."""
        return self._pooled(self.encoder(self.rows_of(features)) * self.live)

    def predict(self, embedding: Tensor) -> Tensor:
        """ȳ = vᵀE of (N, n) x-features: (N,)."""
        estimate: Tensor = self.predictor(embedding)
        return estimate.squeeze(1)

    def contributions(self, embedding: Tensor) -> Tensor:
        """vᵢEᵢ of (N, n) x-features: (N, n); their sum is ȳ."""
        return embedding * self.predictor.weight

    def reset(self, generator: torch.Generator) -> None:
        """Draws all weights anew, from the generator alone; what was dropped takes part again."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                redraw(layer, generator)
        self.live.fill_(value=True)
        self._bring_to_life()

    def _pooled(self, local: Tensor) -> Tensor:
        return local if self.positions == 1 else local.reshape(-1, self.positions, local.shape[1]).mean(dim=1)

    def _bring_to_life(self) -> None:
        last = self.encoder[-2]
        if isinstance(last, nn.Linear):
            bring_to_life(last, self.predictor.weight)


@torch.no_grad()
def bring_to_life(last: nn.Linear, predictor: Tensor) -> None:
    """Lets every x-feature fire at first, and nearly all of them speak for the class.

    The pull-away term is lowest for x-features that never fire, and a ReLU that has once fallen silent stays so. One in five
    starts against the class: logits may be negative, which no sum of positive contributions can follow.

    Args:
        last: the layer that gives the x-features, before its ReLU.
        predictor: (…, n) v of one or more classes.
    """
    last.bias.fill_(1.0)
    x_features = predictor.shape[-1]
    against = max(x_features // 5, 1) if x_features > 1 else 0
    signs = torch.ones_like(predictor)
    signs[..., x_features - against :] = -1
    predictor.copy_(predictor.abs() * signs)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with a ReLU between any two."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def redraw(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draws weight and bias anew, uniformly within 1/√fan-in as PyTorch does, from the generator alone."""
    bound = layer.in_features**-0.5
    for parameter in layer.parameters(recurse=False):
        parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
