"""What ``vitrine explain --with`` names: attribution methods, explainers that are fitted on the pictures, saved ones."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.attribution.registry import method_named
from vitrine.attribution.short_names import SHORT, NamedMethod, find_method, plain
from vitrine.explain.network import ExplainedNetwork
from vitrine.explainers import Explainer, load
from vitrine.explainers.attribution.explainer import AttributionExplainer, AttributionOptions
from vitrine.explainers.inversion.explainer import InversionExplainer, InversionOptions
from vitrine.explainers.saving import CONFIG_NAME

FITTED: Mapping[str, str] = {"srae": "SRAE", "mulasso": "MuLasso"}
"""Explainers that are fitted on the pictures, by their plain names."""
INVERSION = "InversionMask"
USUAL = ("GradCAM", "EBP", "LRP")
"""What is tried where nothing is named: a coarse map that most networks give, and two that go down to the pixels."""


@dataclass(frozen=True)
class ChosenExplainers:
    """The explainers of a run.

    Args:
        ready: those that need no fit, by the name that they are shown under.
        fitted: names of those that are fitted on the pictures, `FITTED`.
        notes: what was left out, in words.
    """

    ready: Mapping[str, Explainer]
    fitted: Sequence[str] = ()
    notes: Sequence[str] = ()


def chosen_explainers(network: ExplainedNetwork, names: Sequence[str], seed: int) -> ChosenExplainers:
    """Makes the named explainers on the network, and tries each on an image of noise.

    Args:
        network: that is explained.
        names: short or full names of methods, ``SRAE``, ``MuLasso``, ``InversionMask``, folders of saved explainers; without
            any, the network's own explainer if it was named by one, or those of `USUAL` that work on it.
        seed: of methods that draw random numbers.

    Raises:
        ValueError: for an unknown name, and for a method that does not work on the network, with what to take instead.
    """
    if not names and network.explainer is not None:
        return ChosenExplainers({_name_of_folder(network.backbone.options.name, network.explainer): network.explainer})
    if not names:
        return _usual(network, seed)
    ready: dict[str, Explainer] = {}
    fitted: list[str] = []
    for place, name in enumerate(names):
        same = [one for one in names[:place] if plain(one) == plain(name)]
        if name in same or (same and not Path(name, CONFIG_NAME).is_file()):
            continue
        if plain(name) in FITTED:
            fitted.append(FITTED[plain(name)])
            continue
        shown, explainer = made_explainer(network, name, seed)
        ready[free_name(shown, ready)] = explainer
    return ChosenExplainers(ready, fitted)


def _usual(network: ExplainedNetwork, seed: int) -> ChosenExplainers:
    ready: dict[str, Explainer] = {}
    notes = []
    for name in USUAL:
        try:
            shown, explainer = made_explainer(network, name, seed)
        except ValueError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            ready[shown] = explainer
    if not ready:
        raise ValueError(f"No usual method works on this network; name others by --with. {notes[0]}")
    return ChosenExplainers(ready, notes=notes)


def made_explainer(
    network: ExplainedNetwork, name: str, seed: int, arguments: Mapping[str, Any] | None = None
) -> tuple[str, Explainer]:
    """An explainer that needs no fit, and the name that it is shown under.

    Args:
        network: that is explained.
        name: of a method, short or full, ``InversionMask``, or the folder of a saved explainer.
        seed: of a method that draws random numbers.
        arguments: further ones of the method.

    Raises:
        ValueError: for an unknown name, and for a method that does not work on the network, with what to take instead.
    """
    given = dict(arguments or {})
    if Path(name, CONFIG_NAME).is_file():
        explainer = load(name, backbone=network.backbone, device=str(network.device))
        return _name_of_folder(name, explainer), _with_names(explainer, network)
    if plain(name) in {plain(INVERSION), "inversion"}:
        inversion = InversionOptions.from_dict({"image_size": network.preprocessing.size, "seed": seed, **given})
        return INVERSION, InversionExplainer(network.backbone, inversion, *network.known)
    method = find_method(name, dict.fromkeys([*FITTED.values(), INVERSION, "FOLDER"]))
    named = NamedMethod(method.method, {**method.arguments, **given})
    return name if plain(name) in SHORT else method.method, _attribution(network, named, seed)


def _attribution(network: ExplainedNetwork, method: NamedMethod, seed: int) -> Explainer:
    takes_seed = "seed" in inspect.signature(method_named(method.method)).parameters
    arguments = {**({"seed": seed} if takes_seed else {}), **method.arguments}
    options = AttributionOptions(method.method, arguments, image_size=network.preprocessing.size)
    explainer = AttributionExplainer(network.backbone, options, *network.known)
    try:
        explainer.check_drawable()
    except ValueError as error:
        raise ValueError(f"{method.method} does not work on this network: {error}") from error
    return explainer


def _with_names(explainer: Explainer, network: ExplainedNetwork) -> Explainer:
    if not explainer.classes:
        explainer.classes = network.classes.names()
    return explainer


def _name_of_folder(folder: str, explainer: Explainer) -> str:
    return f"{type(explainer).__name__.removesuffix('Explainer')} ({folder_name(folder)})"


def folder_name(folder: str) -> str:
    """What a saved explainer's folder is called: the run's name, where it is the run's ``explainer``."""
    place = Path(folder).resolve()
    return place.parent.name if place.name == "explainer" else place.name


def free_name(name: str, taken: Mapping[str, object]) -> str:
    """A name that is not taken: the name itself, or with a number behind it."""
    return name if name not in taken else f"{name} {1 + sum(one.startswith(name) for one in taken)}"
