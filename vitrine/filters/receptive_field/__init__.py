"""Receptive fields: which pixels an output depends on, followed operator by operator."""
