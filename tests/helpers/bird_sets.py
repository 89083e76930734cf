"""Small CUB_200_2011 folders in the official layout."""

from pathlib import Path

from tests.helpers.image_sets import write_picture

NAMES = ("Auk", "Bunting", "Cardinal", "Dove")
PARTS = ("beak", "left eye", "tail")


def write_cub(root: Path, classes: int = 2, train: int = 2, test: int = 2, size: int = 20) -> Path:
    """Pictures of noise with a box and three parts each, of which the last cannot be seen.

    Args:
        root: the folder ``CUB_200_2011``.
        classes: number of species, at most four.
        train: official training images of each.
        test: official test images of each.
        size: side of the pictures in pixels.
    """
    species = [f"{number + 1:03d}.{name}" for number, name in enumerate(NAMES[:classes])]
    (root / "parts").mkdir(parents=True)
    (root / "classes.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(species, start=1)))
    (root / "parts/parts.txt").write_text("".join(f"{number} {name}\n" for number, name in enumerate(PARTS, start=1)))
    tables: dict[str, list[str]] = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")
    }
    images = [(name, place) for name in species for place in range(train + test)]
    for number, (name, place) in enumerate(images, start=1):
        relative = f"{name}/{name[4:]}_{place:04d}.jpg"
        write_picture(root / "images" / relative, number, (size, size))
        tables["images"].append(f"{number} {relative}")
        tables["image_class_labels"].append(f"{number} {species.index(name) + 1}")
        tables["train_test_split"].append(f"{number} {int(place < train)}")
        tables["bounding_boxes"].append(f"{number} {size / 4} {size / 4} {size / 2} {size / 2}")
        seen = [(size * 0.4, size * 0.4), (size * 0.6, size * 0.5)]
        tables["parts/part_locs"] += [f"{number} {part} {x} {y} 1" for part, (x, y) in enumerate(seen, start=1)]
        tables["parts/part_locs"].append(f"{number} 3 0.0 0.0 0")
    for table, rows in tables.items():
        (root / f"{table}.txt").write_text("\n".join(rows) + "\n")
    return root
