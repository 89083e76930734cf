"""Tiny sets in their official layouts, under the names that the experiments have for them."""

from pathlib import Path

from tests.helpers import image_sets as sets
from tests.helpers.bird_sets import write_cub
from tests.helpers.voc_sets import write_voc


def write_all(data: Path) -> Path:
    """Every set that the experiments of the inversion paper read."""
    sets.write_imagenet(data / "imagenet", per_class=4)
    # Of the official training images two fifths have boxes; here all have.
    for image in (data / "imagenet/ILSVRC/Data/CLS-LOC/train").glob("*/*.JPEG"):
        text = sets.annotation(image.stem, [(image.parent.name, (1, 1, 8, 7))])
        folder = data / "imagenet/ILSVRC/Annotations/CLS-LOC/train" / image.parent.name
        sets.write_text(folder / f"{image.stem}.xml", text)
    sets.write_text(data / "imagenet" / "ILSVRC2014_clsloc_validation_blacklist.txt", "4\n")
    sets.write_tiny_imagenet(data / "tiny_imagenet_200", per_class=4)
    others = [f"n{number:08d}" for number in range(1000 - len(sets.WNIDS))]
    for wnid in [*others, *sets.WNIDS]:
        sets.write_text(data / "imagenet_samples" / f"{wnid}_name.JPEG", "")
    write_voc(data / "VOCdevkit")
    write_cub(data / "CUB_200_2011", train=4, test=4)
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
