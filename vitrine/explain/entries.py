"""Pictures of ``vitrine explain`` as entries of the report's gallery."""

from vitrine.core.file_names import safe_path
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.predictions import FOLDER, Predicted
from vitrine.visualization.report.gallery import GalleryEntry


def gallery_entry(one: Predicted, preprocessing: Preprocessing) -> GalleryEntry:
    """A picture with the maps of all methods; what the gallery needs of it alone."""
    picture = one.picture
    height, width = picture.pixels.shape[1:]
    x0, y0, x1, y1 = preprocessing.source_window(height, width)
    return GalleryEntry(
        key=picture.key,
        image=preprocessing.denormalize(picture.inputs[None])[0],
        labels=() if one.label is None else (one.label,),
        explanation=list(one.explanations.items()),
        original=picture.path,
        region=(x0 / width, y0 / height, x1 / width, y1 / height),
        overlay=f"../{FOLDER}/{safe_path(picture.key).as_posix()}/",
    )
