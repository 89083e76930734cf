"""Places365 for training, ADE20K for testing, with one set of labels."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules import PlacesDataModule
from tests.helpers import scene_sets
from vitrine.core.options import grouped
from vitrine.data.preprocessing import Preprocessing

CLASSES = ["attic", "bathroom", "bedroom", "booth/indoor", "office"]
ADE20K = [
    ("training", "home_or_hotel/bedroom", "ADE_train_00000001"),
    ("training", "urban/street", "ADE_train_00000002"),
    ("validation", "home_or_hotel/bathroom", "ADE_val_00000001"),
    ("validation", "cultural/booth__indoor", "ADE_val_00000002"),
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scenes")
    challenge = [(split, scene.rpartition("/")[2].replace("__", "_"), stem) for split, scene, stem in ADE20K]
    return {
        "listed": scene_sets.write_listed_places(folder / "listed", CLASSES, 6, 2),
        "easy": scene_sets.write_easy_places(folder / "easy", CLASSES, 6, 2),
        "full": scene_sets.write_ade20k(folder / "ADE20K_2021_17_01", ADE20K),
        "challenge": scene_sets.write_challenge(folder / "ADEChallengeData2016", challenge),
    }


def places(shards: Path, root: Path | None, ade20k: Path | None, **options: Any) -> PlacesDataModule:
    small: dict[str, Any] = {"preprocessing": Preprocessing(size=8, resize=8), "num_workers": 0, "batch_size": 4}
    data = PlacesDataModule(shards, root, ade20k, **grouped(PlacesDataModule, {**small, **options}))
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("kind", ["listed", "easy"])
@pytest.mark.parametrize("annotated", ["full", "challenge"])
def test_all_splits_have_the_labels_of_places(
    roots: dict[str, Path], kind: str, annotated: str, tmp_path: Path
) -> None:
    data = places(tmp_path / "shards", roots[kind], roots[annotated])
    assert {name: split.index.count for name, split in data.splits.items()} == {"train": 30, "val": 10, "test": 3}
    assert [name.replace("-", "/") for name in data.classes] == CLASSES
    assert data.annotations == {"objects"}
    assert data.splits["test"].index.object_names
    (batch,) = data.test_dataloader()
    found = {key.rpartition("__")[2]: label for key, label in zip(batch["key"], batch["label"].tolist(), strict=True)}
    assert found == {"ADE_train_00000001": 2, "ADE_val_00000001": 1, "ADE_val_00000002": 3}
    assert batch["objects"].shape == (3, 1, 8, 8)
    assert batch["objects"].dtype == torch.int64


def test_objects_keep_their_ids(roots: dict[str, Path], tmp_path: Path) -> None:
    data = places(tmp_path / "shards", roots["easy"], roots["full"])
    (batch,) = data.test_dataloader()
    names = data.splits["test"].index.object_names or []
    for objects in batch["objects"]:
        ids = [identifier for identifier in objects.unique().tolist() if identifier]
        assert ids
        assert all(scene_sets.OBJECTS[names[identifier - 1]] == identifier for identifier in ids)


def test_scenes_are_kept_alone_beside_a_few_others(roots: dict[str, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"scenes": ["bedroom", "bathroom"], "per_class": 4, "others": 1}
    data = places(tmp_path / "shards", roots["listed"], roots["full"], **options)
    assert data.class_counts == [1, 4, 4, 1, 1]
    assert data.splits["val"].index.class_counts == [1, 2, 2, 1, 1]
    assert data.splits["test"].index.class_counts == [0, 1, 1, 0, 0]


def test_without_places_a_list_of_categories_is_needed(roots: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"give it, or categories_places365\.txt as data\.init_args\.categories"
    ):
        places(tmp_path / "shards", None, roots["full"])
    categories = roots["listed"] / "categories_places365.txt"
    data = places(tmp_path / "shards", None, roots["full"], categories=categories)
    assert (list(data.splits), data.classes) == (["test"], CLASSES)


def test_without_ade20k_there_is_no_test_split(roots: dict[str, Path], tmp_path: Path) -> None:
    data = places(tmp_path / "shards", roots["easy"], None)
    assert list(data.splits) == ["train", "val"]
    with pytest.raises(
        FileNotFoundError, match=r"python -m vitrine\.shards ade20k --root ADE20K_2021_17_01 --split all"
    ):
        data.test_dataloader()


def test_without_val_images_some_of_train_are_held_out(tmp_path: Path) -> None:
    root = scene_sets.write_easy_places(tmp_path / "set", CLASSES, 4, 0)
    data = places(tmp_path / "shards", root, None, val_fraction=0.25)
    assert list(data.splits) == ["train"]
    assert sum(len(batch["key"]) for batch in data.val_dataloader()) == 5


def test_without_anything_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"python -m vitrine\.shards places365 --root places365_standard --split"
    ):
        places(tmp_path / "shards", None, None)
