"""Operators intercepted in the forward pass, and other backward passes for them, without patching any module.

Shared by deconvnets, guided backprop and excitation backprop, and by whatever needs vector-Jacobian products.
"""
