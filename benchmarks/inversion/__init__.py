"""What an inversion mask costs: of many images at once, of one at a time, and by the scheme of the released code."""

from benchmarks.inversion.guard import smoke

__all__ = ["smoke"]
