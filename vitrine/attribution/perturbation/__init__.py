"""Perturbation methods: occlusion, RISE, meaningful perturbation and extremal perturbation."""
