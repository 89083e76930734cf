"""Registry of attribution methods: the classes that `vitrine.attribution` exports, by name."""

import inspect

from vitrine import attribution
from vitrine.attribution.base import Method
from vitrine.core.near_names import near_names


def all_methods() -> dict[str, type[Method]]:
    """The exported attribution methods by name, in alphabetical order."""
    exports = {name: getattr(attribution, name) for name in sorted(attribution.__all__)}
    return {name: export for name, export in exports.items() if _is_method(export)}


def method_named(name: str) -> type[Method]:
    """The class of an attribution method.

    Raises:
        ValueError: if no method has this name, with near names.

    Example:
        >>> method_named("GradCAM")
        <class 'vitrine.attribution.cam.grad_cam.GradCAM'>
    """
    methods = all_methods()
    if name not in methods:
        near = ", ".join(near_names(name, methods))
        raise ValueError(f"There is no attribution method named {name!r}; near names: {near}.")
    return methods[name]


def _is_method(export: object) -> bool:
    return inspect.isclass(export) and issubclass(export, Method) and not inspect.isabstract(export)
