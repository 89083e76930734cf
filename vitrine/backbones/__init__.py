"""The classifier that is explained: built by name, frozen, guarded while it is looked into, and tapped.

`FrozenBackbone` is the class that explainers hold; `eval_guard` and `taps` serve attribution methods on any module.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrine.backbones.frozen import FrozenBackbone
    from vitrine.backbones.networks import BackboneOptions

__all__ = ["BackboneOptions", "FrozenBackbone"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: attribution methods, which need the guard alone, start without torchvision's models.
    if name == "FrozenBackbone":
        from vitrine.backbones.frozen import FrozenBackbone  # noqa: PLC0415

        return FrozenBackbone
    if name == "BackboneOptions":
        from vitrine.backbones.networks import BackboneOptions  # noqa: PLC0415

        return BackboneOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
