"""Callbacks: what is drawn, kept and mended while a trainer runs."""

from callbacks.ablation import FilterAblation
from callbacks.average_images import AverageImages
from callbacks.export import Export
from callbacks.health import RestartDegenerateHeads
from callbacks.heatmaps import HeatmapPanel
from callbacks.metrics_file import MetricsFile
from callbacks.predictions import PredictionWriter
from callbacks.relevance import RelevanceTable
from callbacks.report import ReportGallery
from callbacks.sanity import SanityCheck

__all__ = [
    "AverageImages",
    "Export",
    "FilterAblation",
    "HeatmapPanel",
    "MetricsFile",
    "PredictionWriter",
    "RelevanceTable",
    "ReportGallery",
    "RestartDegenerateHeads",
    "SanityCheck",
]
