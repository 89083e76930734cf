"""Short names for ``--model``: ``SRAE`` for SRAEModule, and ``GradCAM`` for AttributionModule with this method."""

import json
from collections.abc import Sequence

import lightning_modules
from vitrine.attribution.registry import all_methods
from vitrine.attribution.short_names import find_method, plain

SUFFIX = "Module"
OPTION = "--model"


def explainer_names() -> dict[str, str]:
    """By short name, such as ``SRAE``, the name of the module that trains it."""
    return {name.removesuffix(SUFFIX): name for name in lightning_modules.__all__ if name != "ExplainerModule"}


def method_names() -> list[str]:
    """Attribution methods that explain classes."""
    return [name for name, kind in all_methods().items() if kind.explains_classes]


def model_words(name: str) -> list[str]:
    """The words of a command line that a value of ``--model`` stands for.

    Case, hyphens and underscores do not matter. Names that are not short ones stay as they are.

    Example:
        >>> model_words("mu_lasso")
        ['--model=MuLassoModule']
        >>> model_words("grad-cam")[:2]
        ['--model=AttributionModule', '--model.init_args.attribution.method=GradCAM']
        >>> model_words("SRAEModule"), model_words("configs/model/srae.yaml")
        (['--model=SRAEModule'], ['--model=configs/model/srae.yaml'])
    """
    modules = {plain(short): module for short, module in explainer_names().items()}
    if plain(name) in modules:
        return [f"{OPTION}={modules[plain(name)]}"]
    try:
        named = find_method(name)
    except ValueError:
        return [f"{OPTION}={name}"]
    if named.method not in method_names():
        return [f"{OPTION}={name}"]
    options = f"{OPTION}.init_args.attribution"
    arguments = json.dumps(named.arguments)  # also where there are none: those of a configuration's own method go
    return [f"{OPTION}=AttributionModule", f"{options}.method={named.method}", f"{options}.arguments={arguments}"]


def with_model_words(words: Sequence[str]) -> list[str]:
    """A command line with its short names of models written out; ``--model NAME`` and ``--model=NAME`` are the same."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == OPTION:
            found[-1:] = model_words(word)
        elif word.startswith(f"{OPTION}="):
            found += model_words(word.removeprefix(f"{OPTION}="))
        else:
            found.append(word)
    return found
