"""The HTML gallery: a static page of images, predictions, heatmaps and contributions."""

from vitrine.visualization.report.entry import GalleryEntry
from vitrine.visualization.report.gallery import write_gallery

__all__ = ["GalleryEntry", "write_gallery"]
