"""Methods that take gradients to the pixels: saliency, SmoothGrad, integrated gradients, deconvnet, guided backprop."""
