"""Real-time saliency (Dabkowski and Gal, NIPS 2017): a network that is trained to give the mask of a class in one pass.

The network is `decoder`, its losses `losses`, what stands in the place of hidden parts `backgrounds`.
"""
