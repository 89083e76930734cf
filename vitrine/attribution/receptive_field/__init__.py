"""Receptive fields: which pixels an output depends on, propagated operator by operator."""
