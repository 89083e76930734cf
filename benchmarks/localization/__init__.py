"""Weakly supervised localisation by attribution maps, on Tiny-ImageNet and birds."""
