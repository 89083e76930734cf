"""Tiny sets in their official layouts, under the names that the experiments have for them."""

from pathlib import Path

from tests.helpers import image_sets as sets
from tests.helpers.voc_sets import write_voc


def write_cub(root: Path, per_class: int = 8) -> Path:
    """CUB_200_2011 with two species; every second image is a test image, and a few parts are named."""
    species = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    names = [f"{name}/{name[4:]}_{number:04d}.jpg" for name in species for number in range(per_class)]
    numbered = list(enumerate(names, start=1))
    tables = {
        "classes.txt": [f"{number} {name}" for number, name in enumerate(species, start=1)],
        "images.txt": [f"{number} {name}" for number, name in numbered],
        "image_class_labels.txt": [f"{number} {int(name[2])}" for number, name in numbered],
        "train_test_split.txt": [f"{number} {number % 2}" for number, _ in numbered],
        "bounding_boxes.txt": [f"{number} 4.0 3.0 20.0 18.0" for number, _ in numbered],
        "parts/parts.txt": ["1 back", "2 beak", "3 tail"],
        "parts/part_locs.txt": [
            f"{number} {part} {4 * part}.0 {5 * part}.0 1" for number, _ in numbered for part in (1, 2, 3)
        ],
    }  # fmt: skip
    for name, lines in tables.items():
        sets.write_text(root / name, "".join(f"{line}\n" for line in lines))
    for number, name in numbered:
        sets.write_picture(root / "images" / name, number, (32, 24))
    return root


def write_all(data: Path) -> Path:
    """Every set that the experiments of the inversion paper read."""
    sets.write_imagenet(data / "imagenet", per_class=4)
    for image in (data / "imagenet/ILSVRC/Data/CLS-LOC/train").glob(
        "*/*.JPEG"
    ):  # of the official ones two fifths have boxes
        text = sets.annotation(image.stem, [(image.parent.name, (1, 1, 8, 7))])
        folder = data / "imagenet/ILSVRC/Annotations/CLS-LOC/train" / image.parent.name
        sets.write_text(folder / f"{image.stem}.xml", text)
    sets.write_text(data / "imagenet" / "ILSVRC2014_clsloc_validation_blacklist.txt", "4\n")
    sets.write_tiny_imagenet(data / "tiny_imagenet_200", per_class=4)
    others = [f"n{number:08d}" for number in range(1000 - len(sets.WNIDS))]
    for wnid in [*others, *sets.WNIDS]:
        sets.write_text(data / "imagenet_samples" / f"{wnid}_name.JPEG", "")
    write_voc(data / "VOCdevkit")
    write_cub(data / "CUB_200_2011")
    sets.write_saliency(data / "MSRA-B", count=5)
    for rival in ("SS", "SIM", "RC", "FT", "SF", "BL"):
        for number in range(5):
            sets.write_picture(data / "MSRA-B-maps" / rival / f"0_{number}.png", number)
    boxes = data / "imagenet_val_with_boxes"
    for number in (21, 73):
        sets.write_picture(boxes / f"{sets.val_name(number)}.JPEG", number, (30, 20))
    for table, values in {"class_labels": "{}", "image_sizes": "30,20", "localization": "1,2,19,14"}.items():
        lines = [f"val/{sets.val_name(number)}.JPEG,{values.format(number)}\n" for number in (21, 73)]
        sets.write_text(boxes / f"{table}.txt", "".join(lines))
    return data
