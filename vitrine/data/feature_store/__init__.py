"""Feature store: features of a whole split, computed once and kept on disk in chunks that are mapped into memory.

``python -m vitrine.features --help`` is the command line.
"""

from vitrine.data.feature_store.computing import FeatureExtractor
from vitrine.data.feature_store.store import FeatureStore
from vitrine.data.feature_store.table import FeatureTable

__all__ = ["FeatureExtractor", "FeatureStore", "FeatureTable"]
