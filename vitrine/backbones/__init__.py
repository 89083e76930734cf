"""The classifier that is explained: built by name, frozen, guarded while it is looked into, and tapped.

`FrozenBackbone` is the class that explainers hold; `eval_guard` and `taps` serve attribution methods on any module.
"""
