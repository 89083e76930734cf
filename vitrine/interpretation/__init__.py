"""What a network has learned: the filters that its classes rest on, and what those filters look for."""

from vitrine.interpretation.averages import AverageImage, average_images, find_top_images
from vitrine.interpretation.peaks import WantedFilter
from vitrine.interpretation.relevance import RelevantFilter, relevance_rows, write_picks, write_relevance
from vitrine.interpretation.sheet import average_sheet
from vitrine.interpretation.top_images import TopImage, TopImages

__all__ = [
    "AverageImage",
    "RelevantFilter",
    "TopImage",
    "TopImages",
    "WantedFilter",
    "average_images",
    "average_sheet",
    "find_top_images",
    "relevance_rows",
    "write_picks",
    "write_relevance",
]
