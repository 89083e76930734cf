"""A network and pictures that the tests of ``vitrine explain`` share."""

from pathlib import Path

import pytest

from tests.helpers.flower_pictures import NETWORK, WEIGHTS, write_pictures
from vitrine.explain.network import ExplainedNetwork, explained_network
from vitrine.explain.options import ExplainOptions
from vitrine.explain.pictures import Pictures


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures in two folders, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "Red" / "deep", 3)
    write_pictures(folder / "others", 3, seed=1)
    (folder / "others" / "broken.jpg").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def flower_options(picture_folder: Path) -> ExplainOptions:
    return ExplainOptions(picture_folder, NETWORK, weights=str(WEIGHTS), size=48, batch_size=4, epochs=3, device="cpu")


@pytest.fixture(scope="session")
def flower_network(flower_options: ExplainOptions) -> ExplainedNetwork:
    return explained_network(flower_options)


@pytest.fixture
def pictures(picture_folder: Path) -> Pictures:
    return Pictures(picture_folder)
