"""Excitation backprop (Zhang et al., ECCV 2016): marginal winning probabilities, and the rule of each operator."""
