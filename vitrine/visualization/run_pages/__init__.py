"""Pages of a run's folder: an index of its results, and pages of curves, average images and predictions."""

from vitrine.visualization.run_pages.run_index import write_run_index

__all__ = ["write_run_index"]
