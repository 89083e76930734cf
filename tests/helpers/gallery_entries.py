"""Entries of galleries: small images with random heatmaps."""

import torch

from vitrine.core.explanation import Explanation
from vitrine.visualization.report import GalleryEntry

SCORES = (12.306, -3.5, 1.0, 2.0)


def explanation(prediction: int = 0, heatmaps: int = 3, seed: int = 0, size: tuple[int, int] = (10, 14)) -> Explanation:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.tensor([prediction])
    return Explanation(
        heatmaps=torch.rand(1, heatmaps, *size, generator=generator),
        scores=torch.tensor([SCORES[:heatmaps]]),
        labels=[[f"x-feature {k + 1}" for k in range(heatmaps)]],
        prediction=classes,
        target=classes,
        logits=torch.zeros(1, 3).index_fill(1, classes, 2.0),
    )


def entry(key: str, label: int | None = 0, prediction: int = 0, heatmaps: int = 3) -> GalleryEntry:
    image = torch.rand(3, 10, 14, generator=torch.Generator().manual_seed(len(key)))
    labels = () if label is None else (label,)
    return GalleryEntry(key, image, labels, explanation(prediction, heatmaps, len(key)))
