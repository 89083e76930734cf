"""Sweeps: a W&B sweep file's settings, run one after another or several at once on this machine, in one table."""

from vitrine.sweep.cli import main
from vitrine.sweep.sweep_file import SweepFile, read_sweep

__all__ = ["SweepFile", "main", "read_sweep"]
