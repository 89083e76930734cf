"""Operators intercepted in the forward pass, and the rules by which signals go back through them.

What gradients, deconvnets, excitation backprop and LRP share; nothing in a model is patched.
"""
