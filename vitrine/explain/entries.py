"""Pictures of ``vitrine explain`` as entries of the report's gallery."""

from dataclasses import replace

from vitrine.attribution.short_names import SHORT, plain
from vitrine.core.explanation import Explanation
from vitrine.core.file_names import safe_path
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.predictions import FOLDER, Predicted
from vitrine.visualization.report.entry import GalleryEntry

MOST_ORIGINALS = 1000
"""Pictures up to which the report holds copies of them at their own size; more of them would fill the disk."""


def gallery_entry(one: Predicted, preprocessing: Preprocessing, *, with_original: bool = True) -> GalleryEntry:
    """A picture with the maps of all methods.

    Args:
        one: the picture and what was found.
        preprocessing: by which the network's input was made of it.
        with_original: whether the report gets a copy of the picture.
    """
    picture = one.picture
    height, width = picture.pixels.shape[1:]
    x0, y0, x1, y1 = preprocessing.source_window(height, width)
    return GalleryEntry(
        key=picture.key,
        image=preprocessing.denormalize(picture.inputs[None])[0],
        labels=() if one.label is None else (one.label,),
        explanation=[(name, _named(explanation, name)) for name, explanation in one.explanations.items()],
        original=picture.path if with_original else None,
        region=(x0 / width, y0 / height, x1 / width, y1 / height),
        overlay=f"../{FOLDER}/{safe_path(picture.key).as_posix()}/",
    )


def _named(explanation: Explanation, name: str) -> Explanation:
    """With labels that begin with the name under which the method is shown, where that is a short one."""
    full = SHORT[plain(name)].method if plain(name) in SHORT else name
    labels = [
        [name + label.removeprefix(full) if label.startswith(f"{full} of ") else label for label in row]
        for row in explanation.labels
    ]
    return replace(explanation, labels=labels)
