"""Damaged samples: left out of their batches, named, and counted once a stage."""

import hashlib
import io
import json
import shutil
import tarfile
import warnings
from pathlib import Path

import pytest
import torch

from datamodules.damaged import Damaged, SkipCounter, empty_like, gather, read_or_skip
from datamodules.samples import SampleError
from tests.helpers import shard_fakes as fakes
from vitrine.core.batch import Batch


def test_a_batch_of_what_could_be_read() -> None:
    damaged = Damaged("b", "b is torn.")
    loaded = gather([{"key": "a", "label": 1}, damaged, {"key": "c", "label": 2}])
    assert loaded.batch is not None
    assert loaded.batch["key"] == ["a", "c"]
    assert loaded.batch["label"].tolist() == [1, 2]
    assert loaded.damaged == [damaged]
    assert gather([damaged]) == (None, [damaged])
    assert gather([]) == (None, [])


def test_only_errors_of_samples_are_skipped_and_only_where_that_is_wanted() -> None:
    def torn() -> dict[str, int]:
        raise SampleError("a is torn.")

    def wrong() -> dict[str, int]:
        raise TypeError

    assert read_or_skip(torn, lambda: "a", skip=True) == Damaged("a", "a is torn.")
    with pytest.raises(SampleError, match="a is torn"):
        read_or_skip(torn, lambda: "a", skip=False)
    with pytest.raises(TypeError):
        read_or_skip(wrong, lambda: "a", skip=True)


def test_an_empty_batch_has_the_same_entries() -> None:
    empty = empty_like(Batch(key=["a"], image=torch.ones(1, 3, 4, 4), boxes=[torch.ones(2, 4)]))
    assert empty["key"] == empty["boxes"] == []
    assert empty["image"].shape == (0, 3, 4, 4)


def test_each_sample_counts_once_and_the_first_few_are_named() -> None:
    skipped = SkipCounter()
    damaged = [Damaged(f"image {number}", f"image {number} is torn.") for number in range(9)]
    with pytest.warns(UserWarning, match=r"Left out \(test\): image \d is torn") as told:
        skipped.add("test", damaged)
    skipped.add("test", damaged[:3])
    assert len(told) == 5
    skipped.add("val", [])
    assert skipped.take("test") == [f"image {number}" for number in range(9)]
    assert skipped.take("test") == skipped.take("val") == skipped.take("train") == []


def damage(tar: Path, numbers: set[int]) -> set[str]:
    """Makes the images of some samples of a shard unreadable; gives the keys of the others."""
    with tarfile.open(tar) as file:
        members = [(member.name, file.extractfile(member).read()) for member in file]  # type: ignore[union-attr]
    keys = list(dict.fromkeys(name.partition(".")[0] for name, _ in members))
    torn = {keys[number] for number in numbers}
    with tarfile.open(tar, "w") as file:
        for name, data in members:
            key, _, extension = name.partition(".")
            content = b"torn" if key in torn and extension != "json" else data
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return set(keys) - torn


@pytest.fixture
def torn(few: Path, tmp_path: Path) -> Path:
    """Five of 11 test images and two of 43 training images are torn, a whole batch of each kind among them."""
    shards = tmp_path / "set"
    shutil.copytree(few, shards)
    (test,) = (shards / "test").glob("*.tar")
    damage(test, {0, 1, 2, 3, 6})
    damage(min((shards / "train").glob("*.tar")), {0, 5})
    return shards


@pytest.mark.filterwarnings("ignore:Left out")
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_on_without_damaged_samples(torn: Path, workers: int) -> None:
    data = fakes.at(fakes.module_of(torn, on_error="skip", num_workers=workers))
    batches = fakes.keys_of(data.test_dataloader())
    assert [len(batch) for batch in batches] == [3, 3]
    names = data.skipped.take("test")
    assert len(names) == 5
    assert all(name.endswith("shard-000000.tar") for name in names)


@pytest.mark.filterwarnings("ignore:Left out")
def test_training_batches_keep_their_number(torn: Path) -> None:
    data = fakes.at(fakes.module_of(torn, on_error="skip", batch_size=1, val_fraction=0.0))
    batches = list(data.train_dataloader())
    assert sorted(len(batch["key"]) for batch in batches) == [0, 0] + [1] * 41
    assert {tuple(batch["image"].shape[1:]) for batch in batches} == {(3, 8, 8)}
    assert len(data.skipped.take("train")) == 2


@pytest.mark.filterwarnings("ignore:Left out")
def test_a_cut_shard_loses_what_stands_behind_the_cut(few: Path, tmp_path: Path) -> None:
    shards = tmp_path / "set"
    shutil.copytree(few, shards)
    tar = sorted((shards / "train").glob("*.tar"))[1]
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    data = fakes.at(fakes.module_of(shards, on_error="skip", val_fraction=0.0))
    keys = {key for batch in data.train_dataloader() for key in batch["key"]}
    lost = data.skipped.take("train")
    assert len(keys) == 43 - len(lost)
    assert 0 < len(lost) < 17
    assert f"sample 16 of {tar}" in lost


def test_without_the_option_the_first_one_stops_the_run(torn: Path) -> None:
    with pytest.raises(ValueError, match=r"The image of .* is broken"):
        list(fakes.at(fakes.module_of(torn)).test_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_picture_does_not_end_a_prediction(tmp_path: Path, workers: int) -> None:
    for path in fakes.write_images(tmp_path / "images", 7)[2:4]:
        path.write_bytes(b"torn")
    options = {"predict_root": tmp_path / "images", "on_error": "skip", "num_workers": workers, "batch_size": 2}
    data = fakes.at(fakes.module_of(tmp_path / "none", **options), setup="predict")
    with pytest.warns(UserWarning, match="image_002.png is no readable image"):
        batches = fakes.keys_of(data.predict_dataloader())
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert data.skipped.take("predict") == ["image_002.png", "image_003.png"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.skipped.take("predict") == []


def test_cached_features_have_to_be_complete(few: Path, tmp_path: Path) -> None:
    shards = Path(shutil.copytree(few, tmp_path / "set"))
    tar = max((shards / "train").glob("*.tar"))
    damage(tar, {3})
    data = fakes.module_of(shards, on_error="skip", folder=tmp_path / "features", val_fraction=0.0)
    with pytest.raises(ValueError, match=rf"{tar.name} is not the file that index\.json lists"):
        fakes.fit_once(data, fakes.MeanColour())
    index = json.loads((shards / "train" / "index.json").read_text())
    index["shards"][-1]["sha256"] = hashlib.sha256(tar.read_bytes()).hexdigest()
    (shards / "train" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"is broken .* mend the set, or set data\.init_args\.features\.cache: false"):
        fakes.fit_once(data, fakes.MeanColour())
