"""Callbacks: what is drawn, kept and mended while a trainer runs."""

from callbacks.export import Export
from callbacks.health import RestartDegenerateHeads
from callbacks.heatmaps import HeatmapPanel
from callbacks.metrics_file import MetricsFile
from callbacks.predictions import PredictionWriter
from callbacks.report import ReportGallery
from callbacks.sanity import SanityCheck

__all__ = [
    "Export",
    "HeatmapPanel",
    "MetricsFile",
    "PredictionWriter",
    "ReportGallery",
    "RestartDegenerateHeads",
    "SanityCheck",
]
