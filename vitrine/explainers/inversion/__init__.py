"""The inversion mask (Du, Liu, Song and Hu, KDD 2018) as an explainer; its mathematics is `vitrine.attribution.inversion`.

Equations 8 and 9 are `objective`, Algorithms 1 and 2 `optimisation`, the mask of equation 6 `mask`.
"""
