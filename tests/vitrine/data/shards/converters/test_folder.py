from collections.abc import Callable
from pathlib import Path

import pytest

from vitrine.data.shards.converter import write_set
from vitrine.data.shards.converters.folder import list_folder
from vitrine.data.shards.schema import ShardIndex
from vitrine.data.shards.verifier import verify


def convert(root: Path, out: Path, split: str | None = None) -> ShardIndex:
    return write_set(list_folder(root, split), out, shard_size=3, workers=1, seed=0)


def test_classes_are_sorted_folders_and_images_are_found_at_any_depth(class_folders: Path) -> None:
    listed = list_folder(class_folders)
    assert (listed.dataset, listed.split, listed.classes) == ("pets", "all", ["cat", "dog"])
    assert [(sample.key, sample.label) for sample in listed.samples] == [
        ("cat__c", 0),
        ("cat__deep__d", 0),
        ("dog__a", 1),
        ("dog__b", 1),
    ]
    assert listed.samples[1].extra == {"source": "cat/deep/d.png"}


def test_hidden_files_and_other_types_are_left_out(class_folders: Path) -> None:
    for name in ("dog/.a.png", "dog/notes.txt", ".cache/x.png", "dog/.thumbs/x.png"):
        (class_folders / name).parent.mkdir(exist_ok=True)
        (class_folders / name).write_bytes(b"")
    listed = list_folder(class_folders)
    assert listed.classes == ["cat", "dog"]
    assert len(listed.samples) == 4


@pytest.mark.parametrize(
    ("name", "kind", "mode", "stored"),
    [
        ("a.JPG", "JPEG", "CMYK", "jpg"),
        ("a.jpeg", "JPEG", "L", "jpg"),
        ("a.PNG", "PNG", "RGBA", "png"),
        ("a.bmp", "BMP", "RGB", "png"),
        ("a.webp", "WEBP", "RGB", "png"),
        ("a.TIFF", "TIFF", "CMYK", "png"),
        ("a.tif", "TIFF", "L", "png"),
        ("a.ppm", "PPM", "RGB", "png"),
        ("mislabelled.jpg", "PNG", "RGB", "png"),
        ("v1.2 żółw ß.png", "PNG", "RGB", "png"),
    ],
)
def test_every_format_mode_and_name_passes_verification(
    tmp_path: Path, picture: Callable[..., bytes], name: str, kind: str, mode: str, stored: str
) -> None:
    (tmp_path / "set" / "klasse.ü").mkdir(parents=True)
    (tmp_path / "set" / "klasse.ü" / name).write_bytes(picture(1, mode=mode, kind=kind))
    index = convert(tmp_path / "set", tmp_path / "out")
    assert (index.classes, index.count) == (["klasse.ü"], 1)
    assert verify(tmp_path / "out", workers=1).problems == []
    data = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    key = "klasse_ü__" + Path(name).stem.replace(".", "_")
    assert data.startswith(f"{key}.{stored}".encode())


def test_names_that_differ_in_a_dot_collide(class_folders: Path, tmp_path: Path) -> None:
    image = class_folders / "dog" / "a.png"
    for name in ("x.1.png", "x_1.png"):
        (class_folders / "dog" / name).write_bytes(image.read_bytes())
    with pytest.raises(ValueError, match=r"x\.1\.png and .*x_1\.png share the key 'dog__x_1': rename one"):
        convert(class_folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_folder_is_used_and_classes_agree_between_splits(tmp_path: Path, class_folders: Path) -> None:
    root = tmp_path / "split"
    root.mkdir()
    class_folders.rename(root / "train")
    (root / "val" / "dog").mkdir(parents=True)
    (root / "val" / "dog" / "v.png").write_bytes((root / "train" / "dog" / "a.png").read_bytes())
    assert convert(root, tmp_path / "train", "train").class_counts == [2, 2]
    index = convert(root, tmp_path / "val", "val")
    assert (index.split, index.classes, index.class_counts) == ("val", ["cat", "dog"], [0, 1])
    with pytest.raises(ValueError, match="holds the split folders train, val: say with --split"):
        list_folder(root)
    with pytest.raises(FileNotFoundError, match="split/test is no folder"):
        list_folder(root, "test")


def test_a_split_names_a_root_without_split_folders(class_folders: Path) -> None:
    assert list_folder(class_folders, "train").split == "train"


def test_a_class_may_be_called_like_a_split(class_folders: Path) -> None:
    (class_folders / "dog").rename(class_folders / "train")
    assert list_folder(class_folders).classes == ["cat", "train"]


def test_folders_may_be_links(class_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset" / "dog").symlink_to(class_folders / "dog")
    (tmp_path / "subset" / "cat").mkdir()
    (tmp_path / "subset" / "cat" / "deeper").symlink_to(class_folders / "cat" / "deep")
    keys = [sample.key for sample in list_folder(tmp_path / "subset").samples]
    assert keys == ["cat__deeper__d", "dog__a", "dog__b"]


def test_a_folder_without_images_is_named(class_folders: Path) -> None:
    (class_folders / "emu").mkdir()
    with pytest.raises(FileNotFoundError, match="pets/emu holds no images"):
        list_folder(class_folders)
    with pytest.raises(FileNotFoundError, match="pets/emu holds no class folders"):
        list_folder(class_folders / "emu")
    with pytest.raises(FileNotFoundError, match="pets/gnu is no folder"):
        list_folder(class_folders / "gnu")
