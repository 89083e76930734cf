"""A tiny saved explainer to serve, and pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitrine
from vitrine.serve.options import ServeOptions
from vitrine.serve.served import ServedNetwork, served_networks

WEIGHTS = Path(vitrine.__file__).parent / "data" / "an8flower"


@pytest.fixture(scope="session")
def flower_weights() -> Path:
    """Of the network that comes with the package."""
    return next(WEIGHTS.glob("*.safetensors"))


@pytest.fixture(scope="session")
def served_folder(flower_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved explainer of the network that comes with the package."""
    folder = tmp_path_factory.mktemp("served") / "explainer"
    explainer = vitrine.explainer(
        "vitrine.data.an8flower.network:FlowerNet", "GradCAM", weights=flower_weights, size=48, device="cpu"
    )
    explainer.save(folder)
    return folder


@pytest.fixture(scope="session")
def served(served_folder: Path) -> ServedNetwork:
    """The network of that explainer."""
    (found,) = served_networks(ServeOptions(explainers=[str(served_folder)], device="cpu")).values()
    return found


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of noise."""
    path = tmp_path_factory.mktemp("photo") / "flower <1>.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
    return path
