"""Gradient methods: saliency, SmoothGrad, integrated gradients, deconvnet and guided backprop."""
