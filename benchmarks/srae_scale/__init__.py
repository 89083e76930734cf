"""What SRAE heads of many classes cost, fitted side by side and one after the other."""

from benchmarks.srae_scale.guard import smoke

__all__ = ["smoke"]
