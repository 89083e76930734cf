"""Callbacks: what is drawn, measured and written beside a run, and how heads are kept healthy."""

from callbacks.ablation import FilterAblation
from callbacks.adversarial_attack import AdversarialAttack
from callbacks.average_images import AverageImages
from callbacks.box_occlusion import BoxOcclusion
from callbacks.causal_truth import CausalTruth
from callbacks.contact_sheets import ContactSheets
from callbacks.grid_artifact import GridArtifact
from callbacks.health import DropDeadFeatures, RestartDeadHeads
from callbacks.heatmaps import HeatmapPanel
from callbacks.insertion_deletion import InsertionAndDeletion
from callbacks.masked_classification import MaskedClassification
from callbacks.measures import MapMeasures
from callbacks.metrics_table import MetricsTable
from callbacks.part_probabilities import PartProbabilities
from callbacks.predictions import PredictionWriter
from callbacks.preflight import Preflight
from callbacks.relevance import RelevanceTable
from callbacks.report import ReportGallery
from callbacks.run_folder import Export, MetricsFile
from callbacks.sanity import SanityCheck
from callbacks.skipped_samples import SkippedSamples
from callbacks.two_objects import TwoObjects

__all__ = [
    "AdversarialAttack",
    "AverageImages",
    "BoxOcclusion",
    "CausalTruth",
    "ContactSheets",
    "DropDeadFeatures",
    "Export",
    "FilterAblation",
    "GridArtifact",
    "HeatmapPanel",
    "InsertionAndDeletion",
    "MapMeasures",
    "MaskedClassification",
    "MetricsFile",
    "MetricsTable",
    "PartProbabilities",
    "PredictionWriter",
    "Preflight",
    "RelevanceTable",
    "ReportGallery",
    "RestartDeadHeads",
    "SanityCheck",
    "SkippedSamples",
    "TwoObjects",
]
