"""Needs: what is not there is named with what to get and where it goes."""

from pathlib import Path

import pytest

from experiments.needs import check_needs, lacking, sources
from experiments.reading import experiment_files, read_experiment
from tests.helpers.experiment_files import experiment_of, places_in


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, data={"root": "CUB_200_2011", "weights": "weights/mobilenet_v2.pth"})
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path}/data/CUB_200_2011 does not exist; get CUB-200-2011 .*--data"
    ):
        check_needs(experiment, places_in(tmp_path))
    (tmp_path / "data/CUB_200_2011").mkdir(parents=True)
    assert lacking(experiment, places_in(tmp_path)) == ["weights/mobilenet_v2.pth"]
    check_needs(experiment, places_in(tmp_path, tiny=True))  # no weights for a tiny set


def test_every_need_of_a_shipped_file_has_a_source() -> None:
    for path in experiment_files().values():
        for place in read_experiment(path).data.values():
            assert place in sources() or place.split("/")[0] in sources(), (
                f"{path}: say in sources.yaml where {place} is from"
            )
