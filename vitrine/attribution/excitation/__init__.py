"""Excitation backprop (Zhang et al., ECCV 2016): marginal winning probabilities, and a rule for each operator."""
