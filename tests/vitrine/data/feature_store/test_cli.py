"""``python -m vitrine.features``: what is there, what is damaged, what may go."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import shard_fakes
from tests.helpers.store_fakes import DEPENDS_ON, Sums, filled, flip_byte, store_of
from vitrine.core.locks import file_lock
from vitrine.data.feature_store import FeatureStore
from vitrine.data.feature_store.cli import main
from vitrine.data.shards.schema import parse_index


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Two stores, one of them complete, and one of an earlier release."""
    cache = tmp_path / "features"
    split = shard_fakes.write_split(tmp_path / "set", "train", 6) / "train"
    shards = " ".join(shard.sha256 for shard in parse_index(split).shards)
    weights = tmp_path / "weights.pth"
    weights.touch()
    origin = {"split": str(split), "network": "resnet18", "weights": str(weights), "layer": "layer4 (average)"}
    filled(FeatureStore(cache, DEPENDS_ON | {"shards": shards}, 43, belongs_to=origin))
    filled(store_of(cache, 43, dtype="float16", belongs_to={"split": "elsewhere"}), [0, 1, 2])
    earlier = cache / ("a" * 16)
    earlier.mkdir()
    np.save(earlier / "done.npy", np.ones(3))
    (cache / "notes").mkdir()
    return cache


def stores(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir() and path.name != "notes")


def complete(cache: Path) -> Path:
    return next(path for path in cache.iterdir() if len(list(path.glob("chunk-*"))) == 11)


def test_list(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--folder", str(cache)]) == 0
    shown = capsys.readouterr().out
    assert "3 stores" in shown
    for text in ("resnet18", "layer4 (average)", "43 × 4", "float16", "complete", "27 %", "earlier format", "min ago"):
        assert text in shown
    assert "notes" not in shown


def test_a_cache_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "verify", "prune"):
        assert main([command, "--folder", str(tmp_path / "none")]) == 2
        assert f"{tmp_path}/none does not exist" in capsys.readouterr().err


def test_verify_names_damaged_chunks_and_removes_them(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--folder", str(cache)]) == 0
    assert "every chunk is whole" in capsys.readouterr().out
    path = complete(cache) / "chunk-000004.safetensors"
    flip_byte(path)
    assert main(["verify", "--folder", str(cache)]) == 1
    assert capsys.readouterr().err.count(str(path)) == 1
    assert path.exists()
    assert main(["verify", "--folder", str(cache), "--remove"]) == 1
    assert "computes it again" in capsys.readouterr().err
    assert not path.exists()
    assert main(["verify", "--folder", str(cache)]) == 0


def test_prune_shows_and_removes(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, before = complete(cache).name, stores(cache)
    leftover = complete(cache) / ".chunk-000001.partial-1-a.safetensors"
    leftover.touch()
    os.utime(leftover, (0, 0))
    assert main(["prune", "--folder", str(cache)]) == 0
    shown = capsys.readouterr().out
    assert "is incomplete (27 %)" in shown
    assert "is of an earlier version" in shown
    assert "--yes" in shown
    assert stores(cache) == before
    assert main(["prune", "--folder", str(cache), "--yes"]) == 0
    assert "2 stores" in capsys.readouterr().out
    assert not leftover.exists()
    assert stores(cache) == [kept]
    assert (cache / "notes").is_dir()
    assert main(["prune", "--folder", str(cache), "--yes"]) == 0
    assert stores(cache) == [kept]


def test_a_store_that_a_run_computes_stays(cache: Path) -> None:
    computed = store_of(cache, 43, dtype="float16")
    with file_lock(computed.lock, "computes features"):
        assert main(["prune", "--folder", str(cache), "--yes"]) == 0
        assert computed.folder.name in stores(cache)
    assert main(["prune", "--folder", str(cache), "--yes"]) == 0
    assert computed.folder.name not in stores(cache)


@pytest.mark.parametrize(
    ("arguments", "removed"),
    [
        (("--older-than", "3"), True),
        (("--older-than", "5"), False),
        (("--max-gb", "0"), True),
        (("--max-gb", "1"), False),
    ],
)
def test_prune_by_age_and_size(cache: Path, arguments: tuple[str, ...], *, removed: bool) -> None:
    folder = complete(cache)
    used = folder.joinpath("manifest.json").stat().st_mtime - 4 * 86400
    os.utime(folder / "manifest.json", (used, used))
    assert main(["prune", "--folder", str(cache), "--yes", *arguments]) == 0
    assert folder.exists() is not removed


@pytest.mark.parametrize("text", ["-1", "nan", "x"])
def test_ages_that_make_no_sense(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prune", f"--older-than={text}"])
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["list"], ["verify"], ["prune"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert "vitrine features" in capsys.readouterr().out


def test_the_module_runs(cache: Path) -> None:
    command = [sys.executable, "-m", "vitrine.features", "verify", "--folder", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_extractor_without_an_origin_is_listed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(store_of(tmp_path, 4), extractor=Sums())
    assert main(["list", "--folder", str(tmp_path)]) == 0
    assert "1 store," in capsys.readouterr().out
