"""Heads of all classes on one trunk: a multi-class SRAE."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.explainers.srae_head import bring_to_life, perceptron
from vitrine.explainers.x_features import XFeatureHeads


class SharedOutput(NamedTuple):
    """What the heads make of Z; with P positions, B images have B·P rows of Z."""

    embeddings: Tensor
    """(B, J, n) x-features."""
    decoded: Tensor | None
    """(B·P, d) the decoder's Z, from the x-features of all classes; None without decoder."""
    estimates: Tensor
    """(B, J) ȳ."""
    local: Tensor
    """(B·P, J, n) x-features of each position."""


class SharedHeads(XFeatureHeads):
    """Z goes once through the trunk d → 800 → 100; each class reads n x-features from it and has a predictor of its own.

    One decoder rebuilds Z from the x-features of all classes together. Not in the paper: 200 separate heads have 200 encoders
    of 800 × d.

    Args:
        classes: J.
        features: d, size of Z.
        x_features: n.
        hidden: widths of the trunk, at least one.
        decoder: whether there is a decoder.
        positions: P, vectors Z an image.

    Raises:
        ValueError: for a trunk without a layer.
    """

    def __init__(
        self,
        classes: int,
        features: int,
        x_features: int,
        hidden: Sequence[int],
        *,
        decoder: bool = True,
        positions: int = 1,
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("A shared trunk needs a hidden layer; give hidden, such as [800, 100].")
        self.encoder = perceptron([features, *hidden, classes * x_features])
        self.encoder.append(nn.ReLU())
        self.decoder = perceptron([classes * x_features, *reversed(hidden), features]) if decoder else None
        self.predictor = nn.Parameter(torch.empty(classes, x_features).uniform_(-1, 1) * x_features**-0.5)
        self.register_buffer("taking_part", torch.ones(classes, x_features, dtype=torch.bool))
        self.positions = positions
        last = self.encoder[-2]
        if isinstance(last, nn.Linear):
            bring_to_life(last, self.predictor)

    taking_part: Tensor

    @property
    @override
    def live(self) -> Tensor:
        return self.taking_part

    def set_predictors(self, predictors: Tensor) -> None:
        """Sets v of all classes from (J, n)."""
        self.predictor.data.copy_(predictors)

    def drop(self, idle: Tensor) -> None:
        """Takes (J, n) x-features out of their heads."""
        self.taking_part &= ~idle

    def forward(self, features: Tensor) -> SharedOutput:
        """Of Z (B, P·d)."""
        local = self._local(features)
        embeddings = self._pooled(local)
        decoded = None if self.decoder is None else self.decoder(local.flatten(1))
        return SharedOutput(embeddings, decoded, self._estimates(embeddings), local)

    def rows_of(self, features: Tensor) -> Tensor:
        """(B·P, d) rows of Z (B, P·d)."""
        return features if self.positions == 1 else features.reshape(len(features) * self.positions, -1)

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        return self._pooled(self._local(features))[torch.arange(len(rows), device=rows.device), rows]

    @override
    def predictors(self) -> Tensor:
        return self.predictor

    @override
    def estimates(self, features: Tensor) -> Tensor:
        return self._estimates(self._pooled(self._local(features)))

    def _local(self, features: Tensor) -> Tensor:
        activations: Tensor = self.encoder(self.rows_of(features)) * self.live.flatten()
        return activations.reshape(len(activations), *self.live.shape)

    def _estimates(self, embeddings: Tensor) -> Tensor:
        return (embeddings * self.predictor).sum(dim=2)

    def _pooled(self, local: Tensor) -> Tensor:
        return local if self.positions == 1 else local.reshape(-1, self.positions, *self.live.shape).mean(dim=1)
