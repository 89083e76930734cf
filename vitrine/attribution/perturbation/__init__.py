"""Methods that perturb the input: occlusion, RISE, meaningful and extremal perturbation."""
