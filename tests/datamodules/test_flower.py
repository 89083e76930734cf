"""The flowers' datamodule: it renders what is not there, and takes no shards of other settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datamodules import FlowerDataModule
from datamodules.options import LoadingOptions
from tests.helpers.image_datamodules import counts, ready
from vitrine.data.an8flower.generate import generate
from vitrine.data.an8flower.settings import FlowerSettings
from vitrine.data.preprocessing import Preprocessing

SETTINGS = FlowerSettings("part-2c", views=3, size=24, crops=1, rotations=1, crop_size=16, folds=3, supersampling=1)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would take longer to start than to render."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


def data(shards: Path, render: FlowerSettings | None) -> FlowerDataModule:
    options: dict[str, Any] = {
        "preprocessing": Preprocessing(size=16, resize=None),
        "loading": LoadingOptions(num_workers=0),
    }
    return FlowerDataModule(shards, render, **options)


def test_each_fold_is_rendered_once(tmp_path: Path) -> None:
    tested: list[str] = []
    for fold in range(3):
        settings = replace(SETTINGS, test_fold=fold)
        flowers = ready(data(tmp_path / str(fold), settings))
        assert counts(flowers) == {"train": 4, "test": 2}
        tested += [key for batch in flowers.test_dataloader() for key in batch["key"]]
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / str(fold)).rglob("*")}
        ready(data(tmp_path / str(fold), settings))
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / str(fold)).rglob("*")} == before
    assert len(set(tested)) == 6
    generate(replace(SETTINGS, test_fold=2), tmp_path / "outside", workers=1)
    for name in ("train", "test"):
        assert (tmp_path / "outside" / name / "index.json").read_bytes() == (
            tmp_path / "2" / name / "index.json"
        ).read_bytes()


def test_shards_of_other_settings_are_refused_and_those_without_settings_are_taken(tmp_path: Path) -> None:
    generate(SETTINGS, tmp_path, workers=1)
    with pytest.raises(ValueError, match=r"settings.json says .* test_fold 0, not 1"):
        ready(data(tmp_path, replace(SETTINGS, test_fold=1)))
    assert counts(ready(data(tmp_path, None))) == {"train": 4, "test": 2}


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data.init_args.render.variant"):
        ready(data(tmp_path / "none", None))
