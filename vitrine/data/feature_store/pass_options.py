"""Precision and memory format of the one pass of the frozen network whose features are kept."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vitrine.core.batch import Features
from vitrine.core.options import Options
from vitrine.data.feature_store.computing import FeatureExtractor, many_passes_of


@dataclass(frozen=True)
class PassOptions(Options):
    """How the frozen network computes the features that are kept; features of other options are kept apart.

    The network itself stays as it is: weights are cast within the pass, and in ``channels_last`` images alone change their
    strides, which the outputs of convolutions take over.

    Args:
        precision: ``bfloat16`` for autocast, which rounds activations to 8 bits and is faster where the processor has
            products of it (AMX, AVX-512, tensor cores); ``float32`` for that of the weights.
        channels_last: whether images are given with their channels last, which convolutions of bfloat16 want.

    Example:
        >>> PassOptions(precision="bfloat16", channels_last=True).is_plain
        False
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether nothing is other than in a call of the network."""
        return self == PassOptions()

    def run(self, function: Callable[[Tensor], Features], images: Tensor) -> Features:
        """What a function gives of images (B, C, H, W) in this precision and format."""
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.precision == "float32":
            return function(images)
        with torch.autocast(images.device.type, torch.bfloat16):
            return function(images)


class TunedExtractor:
    """An extractor whose network computes as `PassOptions` say.

    Args:
        extractor: computes the features.
        options: how.
    """

    def __init__(self, extractor: FeatureExtractor, options: PassOptions) -> None:
        self.extractor, self.options = extractor, options

    @property
    def key(self) -> str:
        """Cache key: that of the extractor where the options are plain, so that stores made before them are found."""
        if self.options.is_plain:
            return self.extractor.key
        return json.dumps({"features": self.extractor.key, "pass": self.options.to_dict()}, sort_keys=True)

    @property
    def belongs_to(self) -> dict[str, str]:
        """That of the extractor."""
        return dict(getattr(self.extractor, "belongs_to", {}))

    def many_passes(self) -> AbstractContextManager[None]:
        """That of the extractor, where it has one."""
        return many_passes_of(self.extractor)

    def __call__(self, images: Tensor) -> Features:
        """Features (B, d) and logits (B, C) of (B, 3, H, W) images."""
        return self.options.run(self.extractor, images)
