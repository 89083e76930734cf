"""Identity of a network: all that its outputs depend on, beside the images."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import marshal
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from vitrine.backbones.hugging_face import configuration_of
from vitrine.backbones.model_parts import OF_EVERY_MODULE

LIBRARIES = ("torch", "torchvision", "timm", "transformers")
"""Packages whose layers are told apart by their version; of all others the code itself counts."""


def network_identity(name: str, arguments: Mapping[str, Any], model: nn.Module) -> dict[str, str]:
    """All that a network's outputs depend on but its weights and its structure, as text by name.

    Args:
        name: of the network, as in `BackboneOptions`.
        arguments: of its constructor.
        model: the network, in the precision in which it computes now.
    """
    classes = {type(module) for module in model.modules()}
    weight = next((value for value in model.state_dict().values() if value.is_floating_point()), None)
    used = sorted({one.__module__.partition(".")[0] for one in classes} & set(LIBRARIES) | {"torch"})
    return {
        "network": name,
        "arguments": arguments_text(arguments),
        "code": code_digest(classes),
        "libraries": " ".join(f"{library} {_release(library)}" for library in used),
        "precision": f"{None if weight is None else weight.dtype} {_arithmetic()}",
    }


def structure_digest(model: nn.Module) -> str:
    """SHA-256 of a network's layers in their order, with their settings: strides, activations, and other plain attributes.

    Networks of the same weights may compute otherwise; this is what tells them apart, however they were made.
    """
    total, configurations = hashlib.sha256(), set[int]()
    for name, module in model.named_modules():
        settings = {key: value for key, value in sorted(vars(module).items()) if _is_setting(key, value)}
        graph = getattr(module, "code", None)  # what a traced or scripted module runs
        described = [name, _named(type(module)), settings, graph if isinstance(graph, str) else None]
        config = getattr(module, "config", None)
        if hasattr(config, "to_json_string") and id(config) not in configurations:
            configurations.add(id(config))  # of transformers: its modules read it when they run
            described.append(configuration_of(module))
        total.update(json.dumps(described, sort_keys=True, default=_named).encode())
    return total.hexdigest()


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute of a layer is a plain value, or a function or class that can be named."""
    if isinstance(value, list | tuple):
        return all(_is_setting(name, one) for one in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_setting(name, one) for key, one in value.items())
    plain = value is None or isinstance(value, bool | int | float | str | type | FunctionType | BuiltinFunctionType)
    return plain and name not in OF_EVERY_MODULE


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Arguments as one text, the same in any order; classes and functions by their names."""
    return json.dumps(arguments, sort_keys=True, default=_named)


def code_digest(classes: set[type]) -> str:
    """SHA-256 of the source files of classes, and of the files of their packages that these import.

    Layers of ``LIBRARIES`` are left out. A class without a source file, as in a notebook, counts by its compiled code.
    """
    own = [one for one in classes if one.__module__.partition(".")[0] not in LIBRARIES]
    total, files = hashlib.sha256(), set[Path]()
    for one in sorted(own, key=lambda kind: f"{kind.__module__}.{kind.__qualname__}"):
        module = sys.modules.get(one.__module__)
        if module is not None and _source(module) is not None:
            files |= _imported_files(module)
        else:
            total.update(f"{one.__qualname__} ".encode() + _compiled(one))
    for path in sorted(files):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _imported_files(start: ModuleType) -> set[Path]:
    """Source files of a module, and of all of the same package or folder that it imports, and they import."""
    todo, seen = [start], dict[str, Path]()
    while todo:
        module = todo.pop()
        source = _source(module)
        if module.__name__ in seen or source is None:
            continue
        seen[module.__name__] = source
        names = _imported_names(module, source)
        found = (sys.modules.get(name) for name in names)
        todo += [one for one in found if one is not None and _belongs_together(start, one)]
    return set(seen.values())


def _imported_names(module: ModuleType, source: Path) -> Iterator[str]:
    """Absolute names of what a module's source imports, whether modules or members of modules."""
    package = module.__package__ or ""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            parent = importlib.util.resolve_name(relative, package) if node.level and package else relative
            yield parent
            yield from (f"{parent}.{alias.name}" for alias in node.names)


def _belongs_together(first: ModuleType, other: ModuleType) -> bool:
    """Whether modules are of one package, or single files of one folder that holds no installed packages."""
    top = first.__name__.partition(".")[0]
    if other.__name__.partition(".")[0] == top and top != "__main__":
        return True
    source, other_source = _source(first), _source(other)
    if source is None or other_source is None or "." in first.__name__:
        return False
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    in_folder = other_source.is_relative_to(source.parent)
    return in_folder and not any(other_source.is_relative_to(path) for path in installed)


def _source(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _compiled(kind: type) -> bytes:
    functions = [value for _, value in sorted(vars(kind).items()) if isinstance(value, FunctionType)]
    return b"".join(marshal.dumps(function.__code__) for function in functions)


def _release(library: str) -> str:
    """Major and minor version; later corrections of a release do not change what layers compute."""
    return ".".join(importlib.metadata.version(library).split(".")[:2])


def _arithmetic() -> str:
    """How products are computed at present."""
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    autocast = [f"autocast {kind} {torch.get_autocast_dtype(kind)}" for kind in kinds]
    return " ".join([torch.get_float32_matmul_precision(), *autocast])


def _named(value: Any) -> str:
    qualified = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{qualified}" if qualified else repr(value)
