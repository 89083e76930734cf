"""Vitrine: explanation modules on frozen vision backbones."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrine.explain.explainer import explainer
    from vitrine.explainers import load

    __version__: str

__all__ = ["__version__", "explainer", "load"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the commands of this package that need no network start without torch's weight.
    if name == "load":
        from vitrine.explainers import load  # noqa: PLC0415

        return load
    if name == "explainer":
        from vitrine.explain.explainer import explainer  # noqa: PLC0415

        return explainer
    if name == "__version__":
        from vitrine.core.version import package_version  # noqa: PLC0415

        return package_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
