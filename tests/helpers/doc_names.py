"""What the Python blocks of the pages take as given: a model, images and the like, by the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.tested_runs import random_rows, write_run
from vitrine.data.an8flower.network import FlowerNet

Names = dict[str, Any]
SIDE = 64
"""Pixels of the images' sides."""


def common() -> Names:
    """A classifier, preprocessed images and a picture, as every page has them."""
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE + 6, SIDE, 3), dtype=np.uint8)
    return {
        "model": torchvision.models.resnet18().eval(),
        "images": torch.rand(2, 3, SIDE, SIDE),
        "picture": Image.fromarray(pixels),
    }


def of_mu_lasso() -> Names:
    """A network of few filters, a data set, and batches of the filters' responses with labels."""
    images, labels = torch.rand(12, 3, 32, 32), torch.arange(12) % 6
    dataset = TensorDataset(images, labels)
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(8, 352, generator=generator), torch.eye(6)[torch.arange(8) % 6]) for _ in range(3)]
    return {
        "model": FlowerNet().eval(),
        "dataset": dataset,
        "loader": DataLoader(dataset, batch_size=6),
        "batches": batches,
        "num_filters": 352,  # FlowerNet's
        "num_classes": 6,
    }


def of_comparing() -> Names:
    """Folders of runs that were tested."""
    for number, (folder, name) in enumerate({"flower_methods": "GradCAM", "a": "GradCAM", "b": "SRAE"}.items()):
        if not Path("runs", folder).exists():
            write_run(Path("runs", folder), name, random_rows(12, number))
    return {}


OF_PAGE: dict[str, Callable[[], Names]] = {"docs/mu_lasso.md": of_mu_lasso, "docs/comparing.md": of_comparing}
"""Beside `common`, what a page's blocks name without making it."""


def names_of(page: str) -> Names:
    """The names that a page's blocks start with; files are made in the current folder."""
    return {**common(), **OF_PAGE.get(page, dict)()}
