"""Attention rollout and gradient-weighted attention relevance: the attention matrices of a transformer, multiplied."""
