"""Random numbers of a sample: they depend on a seed and the sample's key, not on its batch or rank."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Distribution = Literal["normal", "uniform"]


def key_generator(seed: int, key: str) -> torch.Generator:
    """A generator on the CPU that depends on the seed and the key alone.

    Example:
        >>> torch.equal(torch.rand(3, generator=key_generator(0, "a")), torch.rand(3, generator=key_generator(0, "a")))
        True
    """
    digest = hashlib.sha256(f"{seed}/{key}".encode("utf-8", "surrogateescape")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class KeyNoise:
    """Draws of random numbers for each of B samples, one after the other; each sample has a sequence of its own.

    Args:
        seed: of all sequences.
        keys: B names of the samples; without them all samples have one and the same sequence.
        count: B.

    Raises:
        ValueError: for another number of keys than B.

    Example:
        >>> KeyNoise(0, ["a", "b"], 2).draw((3,), "uniform").shape
        torch.Size([2, 3])
    """

    def __init__(self, seed: int, keys: Sequence[str] | None, count: int) -> None:
        names = [""] * count if keys is None else list(keys)
        if len(names) != count:
            raise ValueError(f"keys names {len(names)} samples and there are {count}; give one key a sample.")
        self.generators = [key_generator(seed, name) for name in names]

    def draw(self, shape: Sequence[int], distribution: Distribution = "normal") -> Tensor:
        """(B, *shape) float32 on the CPU: standard normal, or uniform in [0, 1)."""
        function = torch.randn if distribution == "normal" else torch.rand
        rows = [function(tuple(shape), generator=generator) for generator in self.generators]
        return torch.stack(rows) if rows else torch.zeros(0, *shape)
