"""Comparison of tested methods: one table, curves, images and paired differences."""

from vitrine.visualization.comparison.comparison import Comparison, ComparisonOptions, read_comparison
from vitrine.visualization.comparison.tables import comparison_table
from vitrine.visualization.comparison.writing import compare_runs, write_comparison

__all__ = ["Comparison", "ComparisonOptions", "compare_runs", "comparison_table", "read_comparison", "write_comparison"]
