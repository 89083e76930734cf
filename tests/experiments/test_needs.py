"""Needs: what is not there is named with what to get and where it goes."""

from pathlib import Path

import pytest

from experiments.needs import check_needs, lacking, sources
from experiments.reading import experiment_files, read_experiment
from experiments.running import Runner
from tests.helpers.experiment_files import FakeTrain, experiment_of, places_in


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, data={"root": "CUB_200_2011", "weights": "weights/mobilenet_v2.pth"})
    with pytest.raises(
        FileNotFoundError, match=rf"{tmp_path}/data/CUB_200_2011 does not exist; get CUB-200-2011 .*--data"
    ):
        check_needs(experiment, places_in(tmp_path))
    (tmp_path / "data/CUB_200_2011").mkdir(parents=True)
    assert lacking(experiment, places_in(tmp_path)) == ["weights/mobilenet_v2.pth"]
    check_needs(experiment, places_in(tmp_path, tiny=True))  # no weights for a tiny set


@pytest.mark.parametrize(
    ("lacks", "only", "asked"),
    [
        ("CUB", ("birds",), "data/CUB does not exist"),
        ("CUB", ("heads",), "data/CUB does not exist"),  # which read the birds' network
        ("CUB", ("rooms",), None),
        ("CUB", (), "data/CUB does not exist"),
        ("CUB_rooms", ("birds",), None),
        ("CUB_rooms", ("rooms",), "data/CUB_rooms does not exist"),
        ("weights/net.pth", ("birds",), None),
        ("weights/net.pth", ("rooms",), r"data/weights/net\.pth does not exist"),
        ("words", ("birds",), "data/words does not exist"),  # that a configuration may read
        ("lists/a.txt", ("birds",), None),
        ("lists/a.txt", ("lists",), r"data/lists/a\.txt does not exist"),
    ],
)
def test_data_that_the_wanted_runs_do_not_read_are_not_asked_for(
    lacks: str, only: tuple[str, ...], asked: str | None, tmp_path: Path
) -> None:
    runs = {
        "birds": {"commands": ["fit"], "set": {"root": "${data}/CUB"}},
        "heads": {"commands": ["test"], "set": {"w": "${run:birds}/w"}},
        "rooms": {
            "commands": ["test"],
            "set": {"a": {"roots": ["${data}/CUB_rooms/val"]}, "w": "${data}/weights/net.pth"},
        },
        "lists": {"commands": ["test"], "set": {"folder": "${data}/lists"}},
    }
    needs = ["CUB", "CUB_rooms", "weights/net.pth", "words", "lists/a.txt"]
    for place in needs:
        if place != lacks:
            (tmp_path / "data" / place).mkdir(parents=True)
    experiment = experiment_of(tmp_path, runs=runs, data={place: place for place in needs})
    runner = Runner(experiment, places_in(tmp_path), FakeTrain(), str)
    if asked is None:
        runner.run(only)
        assert set(only) <= set(runner.digests)
    else:
        with pytest.raises(FileNotFoundError, match=asked):
            runner.run(only)


def test_every_need_of_a_shipped_file_has_a_source() -> None:
    for path in experiment_files().values():
        for place in read_experiment(path).data.values():
            assert place in sources() or place.split("/")[0] in sources(), (
                f"{path}: say in sources.yaml where {place} is from"
            )
