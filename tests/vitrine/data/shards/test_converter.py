"""What a converter lists is what is written."""

from pathlib import Path

import pytest

from vitrine.data.shards.converter import SampleSet, require_folder, write_set
from vitrine.data.shards.sample import Sample


def test_a_folder_is_given_back_and_anything_else_refused(tmp_path: Path) -> None:
    assert require_folder(tmp_path) is tmp_path
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"{path} is no folder: give the folder that holds the data set"):
            require_folder(path)


def test_a_listed_split_is_written_with_all_that_it_says(tmp_path: Path) -> None:
    picture = (Path(__file__).parents[4] / "docs" / "images" / "mnist_panel.jpg").read_bytes()
    samples = [Sample(f"s{number}", picture, [0, 1][: number + 1], parts=[(1, 2, 1)]) for number in range(2)]
    listed = SampleSet(
        "tiny", "val", ["ant", "bee"], samples, annotations=["parts"], multi_label=True, part_names=["eye"]
    )
    index = write_set(listed, tmp_path / "out", shard_size=1, workers=0, seed=3)
    assert (index.dataset, index.split, list(index.classes)) == ("tiny", "val", ["ant", "bee"])
    assert index.multi_label
    assert list(index.part_names or ()) == ["eye"]
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2
