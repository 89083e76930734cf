"""One-vs-all heads that share nothing (Qi, Khorram and Li 2018)."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.explainers.srae_head import SRAEHead
from vitrine.explainers.x_features import XFeatureHeads


class SeparateHeads(XFeatureHeads):
    """An `SRAEHead` for each class.

    Args:
        classes: J.
        features: d, size of Z.
        x_features: n.
        hidden: widths of the encoder between Z and the x-features.
        decoder: whether there are decoders.
        positions: P, vectors Z an image.
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
        self.classes = classes
        for row in range(classes):
            self.add_module(str(row), SRAEHead(features, x_features, hidden, decoder=decoder, positions=positions))

    def __len__(self) -> int:
        return self.classes

    def __getitem__(self, row: int) -> SRAEHead:
        return cast("SRAEHead", self.get_submodule(str(row)))

    def __iter__(self) -> Iterator[SRAEHead]:
        return (self[row] for row in range(len(self)))

    @property
    @override
    def live(self) -> Tensor:
        return torch.stack([head.live for head in self])

    def set_predictors(self, predictors: Tensor) -> None:
        """Sets v of all heads from (J, n)."""
        for head, own in zip(self, predictors, strict=True):
            head.predictor.weight.data.copy_(own)

    def drop(self, idle: Tensor) -> None:
        """Takes (J, n) x-features out of their heads."""
        for head, own in zip(self, idle, strict=True):
            head.live &= ~own

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        # Images of one head go through it together.
        groups = [(self[row], (rows == row).nonzero().squeeze(1)) for row in sorted(set(rows.tolist()))]
        encoded = torch.cat([head.embed(features[index]) for head, index in groups])
        order = torch.cat([index for _, index in groups]).argsort()
        return encoded[order]

    @override
    def predictors(self) -> Tensor:
        return torch.stack([head.predictor.weight[0] for head in self])

    @override
    def estimates(self, features: Tensor) -> Tensor:
        return torch.stack([head.predict(head.embed(features)) for head in self], dim=1)
