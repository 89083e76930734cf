"""ADE20K in both of its formats."""

from pathlib import Path

import pytest

from tests.helpers import scene_sets


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return scene_sets.write_ade20k(tmp_path / "ADE20K_2021_17_01", scene_sets.FULL)


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    return scene_sets.write_challenge(tmp_path / "ADEChallengeData2016", scene_sets.CHALLENGE)
