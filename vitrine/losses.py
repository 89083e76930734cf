"""The losses of SRAE (Qi, Khorram and Li, 2018); see `vitrine.explainers.srae.losses`."""

from vitrine.explainers.srae.losses import pull_away, sparse_reconstruction

__all__ = ["pull_away", "sparse_reconstruction"]
