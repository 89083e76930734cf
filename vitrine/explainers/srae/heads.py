"""SRAE heads: encoder, decoder and linear predictor of each class (section 2.3 of Qi, Khorram and Li, 2018)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.explainers.srae.x_features import XFeatureHeads


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
        num_features: n, size of the explanation space.
        hidden: widths between them.
        decoder: whether there is a decoder.
        positions: P, vectors Z an image.
    """

    def __init__(
        self, features: int, num_features: int, hidden: Sequence[int], *, decoder: bool = True, positions: int = 1
    ) -> None:
        super().__init__()
        widths = [features, *hidden, num_features]
        self.encoder = perceptron(widths)
        self.encoder.append(nn.ReLU())
        self.decoder = perceptron(widths[::-1]) if decoder else None
        self.predictor = nn.Linear(num_features, 1, bias=False)
        self.register_buffer("alive", torch.ones(num_features, dtype=torch.bool))
        self.positions = positions
        self._bring_to_life()

    alive: Tensor
    """(n,) bool: which x-features take part; one that was dropped is 0."""

    def forward(self, features: Tensor) -> HeadOutput:
        """Of Z (B, P·d)."""
        local = self.encoder(self.rows_of(features)) * self.alive
        embedding = self._pooled(local)
        decoded = None if self.decoder is None else self.decoder(local)
        return HeadOutput(embedding, decoded, self.predict(embedding), local)

    def rows_of(self, features: Tensor) -> Tensor:
        """(B·P, d) rows of Z (B, P·d)."""
        return features if self.positions == 1 else features.reshape(-1, features.shape[1] // self.positions)

    def embed(self, features: Tensor) -> Tensor:
        """(B, n) x-features E of Z (B, P·d)."""
        return self._pooled(self.encoder(self.rows_of(features)) * self.alive)

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
        self.alive.fill_(value=True)
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
    num_features = predictor.shape[-1]
    against = max(num_features // 5, 1) if num_features > 1 else 0
    signs = torch.ones_like(predictor)
    signs[..., num_features - against :] = -1
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


class SeparateHeads(XFeatureHeads):
    """An `SRAEHead` for each class.

    Args:
        classes: J.
        features: d, size of Z.
        num_features: n.
        hidden: widths of the encoder between Z and the x-features.
        decoder: whether there are decoders.
        positions: P, vectors Z an image.
    """

    def __init__(
        self,
        classes: int,
        features: int,
        num_features: int,
        hidden: Sequence[int],
        *,
        decoder: bool = True,
        positions: int = 1,
    ) -> None:
        super().__init__()
        self.classes = classes
        for row in range(classes):
            self.add_module(str(row), SRAEHead(features, num_features, hidden, decoder=decoder, positions=positions))

    def __len__(self) -> int:
        return self.classes

    def __getitem__(self, row: int) -> SRAEHead:
        return cast("SRAEHead", self.get_submodule(str(row)))

    def __iter__(self) -> Iterator[SRAEHead]:
        return (self[row] for row in range(len(self)))

    @property
    @override
    def alive(self) -> Tensor:
        return torch.stack([head.alive for head in self])

    def set_predictors(self, predictors: Tensor) -> None:
        """Sets v of all heads from (J, n)."""
        for head, predictor in zip(self, predictors, strict=True):
            head.predictor.weight.data.copy_(predictor)

    def drop(self, dead: Tensor) -> None:
        """Takes (J, n) x-features out of their heads."""
        for head, dropped in zip(self, dead, strict=True):
            head.alive &= ~dropped

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        # Images of one head go through it together.
        groups = [(self[row], (rows == row).nonzero().squeeze(1)) for row in sorted(set(rows.tolist()))]
        encoded = torch.cat([head.embed(features[index]) for head, index in groups])
        order = torch.cat([index for _, index in groups]).argsort()
        return encoded[order]

    @override
    def embed_all(self, features: Tensor) -> Tensor:
        return torch.stack([head.embed(features) for head in self], dim=1)

    @override
    def predictors(self) -> Tensor:
        return torch.stack([head.predictor.weight[0] for head in self])

    @override
    def estimates(self, features: Tensor) -> Tensor:
        return torch.stack([head.predict(head.embed(features)) for head in self], dim=1)


class OutputOfHeads(NamedTuple):
    """What J heads make of the same Z; with P positions, B images have B·P rows of Z."""

    embeddings: Tensor
    """(B, J, n) x-features."""
    decoded: Tensor | None
    """(B·P, d) the Z of the one decoder of a shared trunk, or (J, B·P, d) of a decoder a head; None without decoder."""
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
        num_features: n.
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
        num_features: int,
        hidden: Sequence[int],
        *,
        decoder: bool = True,
        positions: int = 1,
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("A shared trunk needs a hidden layer; give hidden, such as [800, 100].")
        self.encoder = perceptron([features, *hidden, classes * num_features])
        self.encoder.append(nn.ReLU())
        self.decoder = perceptron([classes * num_features, *reversed(hidden), features]) if decoder else None
        self.predictor = nn.Parameter(torch.empty(classes, num_features).uniform_(-1, 1) * num_features**-0.5)
        self.register_buffer("is_alive", torch.ones(classes, num_features, dtype=torch.bool))
        self.positions = positions
        last = self.encoder[-2]
        if isinstance(last, nn.Linear):
            bring_to_life(last, self.predictor)

    is_alive: Tensor

    @property
    @override
    def alive(self) -> Tensor:
        return self.is_alive

    def set_predictors(self, predictors: Tensor) -> None:
        """Sets v of all classes from (J, n)."""
        self.predictor.data.copy_(predictors)

    def drop(self, dead: Tensor) -> None:
        """Takes (J, n) x-features out of their heads."""
        self.is_alive &= ~dead

    def forward(self, features: Tensor) -> OutputOfHeads:
        """Of Z (B, P·d)."""
        local = self._local(features)
        embeddings = self._pooled(local)
        decoded = None if self.decoder is None else self.decoder(local.flatten(1))
        return OutputOfHeads(embeddings, decoded, self._estimates(embeddings), local)

    def rows_of(self, features: Tensor) -> Tensor:
        """(B·P, d) rows of Z (B, P·d)."""
        return features if self.positions == 1 else features.reshape(-1, features.shape[1] // self.positions)

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.embed_all(features)[torch.arange(len(rows), device=rows.device), rows]

    @override
    def embed_all(self, features: Tensor) -> Tensor:
        return self._pooled(self._local(features))

    @override
    def predictors(self) -> Tensor:
        return self.predictor

    @override
    def estimates(self, features: Tensor) -> Tensor:
        return self._estimates(self.embed_all(features))

    def _local(self, features: Tensor) -> Tensor:
        activations: Tensor = self.encoder(self.rows_of(features)) * self.alive.flatten()
        return activations.reshape(-1, *self.alive.shape)

    def _estimates(self, embeddings: Tensor) -> Tensor:
        return (embeddings * self.predictor).sum(dim=2)

    def _pooled(self, local: Tensor) -> Tensor:
        return local if self.positions == 1 else local.reshape(-1, self.positions, *self.alive.shape).mean(dim=1)
