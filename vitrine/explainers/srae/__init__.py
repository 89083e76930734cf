"""SRAE (Qi, Khorram and Li, 2018): x-features of each class, their heads, losses and baselines.

`losses` has the equations 1 to 5, `heads` the networks of section 2.3, `explainer` what a person sees.
"""
