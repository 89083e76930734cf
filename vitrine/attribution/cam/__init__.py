"""Class activation maps: CAM, Grad-CAM and its variants, Score-CAM, and a channel's own activation map."""
