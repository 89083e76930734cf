"""Locations of shards: braces, globs, URLs and commands."""

from pathlib import Path

import pytest

from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams.locations import expand_braces, is_remote, join, names_tars, parent, tar_locations


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("s-{000..002}.tar", ["s-000.tar", "s-001.tar", "s-002.tar"]),
        ("s-{8..11}.tar", ["s-8.tar", "s-9.tar", "s-10.tar", "s-11.tar"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("pipe:curl http://x/{0..1}.tar", ["pipe:curl http://x/0.tar", "pipe:curl http://x/1.tar"]),
        ("{3..1}", []),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize(
    ("location", "remote", "tars"),
    [
        ("data/set", False, False),
        (Path("data/set"), False, False),
        ("data/set/train-{0..1}.tar", False, True),
        ("data/*", False, True),
        ("http://host/set", True, False),
        ("s3://bucket/a.tar", True, True),
        ("pipe:cat a", True, True),
    ],
)
def test_kinds(location: str | Path, remote: bool, tars: bool) -> None:
    assert is_remote(location) is remote
    assert names_tars(location) is tars


def test_folders_of_urls_keep_both_slashes() -> None:
    assert join("http://host/set/", "index.json") == "http://host/set/index.json"
    assert parent("http://host/set/a.tar") == "http://host/set"
    assert parent("a.tar") == ""


def test_globs_find_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert tar_locations(f"{tmp_path}/*.tar") == [f"{tmp_path}/a.tar", f"{tmp_path}/b.tar"]
    assert tar_locations(f"{tmp_path}/{{b,a}}.tar") == [f"{tmp_path}/b.tar", f"{tmp_path}/a.tar"]


def test_nothing_and_compressed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"none-\*\.tar stands for no file"):
        tar_locations(f"{tmp_path}/none-*.tar")
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(ShardError, match=r"a\.tar\.gz is compressed"):
        tar_locations(f"{tmp_path}/*")
