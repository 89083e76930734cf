"""Class activation maps: CAM, Grad-CAM and its kin, Score-CAM; classes drawn over the activations of a layer."""
