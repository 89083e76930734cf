"""Networks that are served: their saved explainers, and the methods that can be asked of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitrine.attribution.registry import all_methods
from vitrine.attribution.short_names import find_method
from vitrine.core.near_names import near_names
from vitrine.explain.chosen import INVERSION, chosen_explainers, folder_name, free_name, made_explainer
from vitrine.explain.network import ExplainedNetwork, explained_network
from vitrine.explain.options import ExplainOptions
from vitrine.explainers.base import Explainer
from vitrine.serve.options import ServeOptions


@dataclass
class ServedNetwork:
    """A network, and its explainers by the names that the page shows.

    Args:
        network: that is explained.
        saved: explainers that were loaded from folders.
        first: names that are chosen at first.
        seed: of methods that draw random numbers.
    """

    network: ExplainedNetwork
    saved: Mapping[str, Explainer]
    first: Sequence[str] = ()
    seed: int = 0
    _made: dict[str, Explainer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made.update(self.saved)
        if not self.first and self.saved:
            self.first = list(self.saved)
        elif not self.first:
            usual = chosen_explainers(self.network, [], self.seed).ready
            self._made.update(usual)
            self.first = list(usual)

    @property
    def names(self) -> list[str]:
        """Everything that can be chosen: what is chosen at first, then methods, those that take long at the end."""
        methods = {name: kind for name, kind in all_methods().items() if kind.explains_classes}
        methods.pop(INVERSION, None)
        known = sorted(methods, key=lambda name: (methods[name].slow, name.lower()))
        return list(dict.fromkeys([*self.saved, *self.first, *known, INVERSION]))

    @property
    def classes(self) -> list[str]:
        """A name for each logit."""
        return self.network.classes.names()

    def explainer(self, name: str) -> Explainer:
        """The explainer of a name, made when it is asked for first.

        Raises:
            ValueError: for an unknown name, and a method that does not work on the network.
        """
        if name not in self._made and name not in self.names:  # a folder of that name would be loaded
            raise ValueError(f"There is no method {name!r}; near names: {', '.join(near_names(name, self.names))}.")
        if name not in self._made:
            self._made[name] = made_explainer(self.network, name, self.seed)[1]
        return self._made[name]


def served_networks(options: ServeOptions) -> dict[str, ServedNetwork]:
    """Loads what the options name; explainers of one network, with the same weights, are served together.

    Returns:
        By the network's name.

    Raises:
        ValueError: for an unknown network or method, and what does not fit.
        FileNotFoundError: where a file or folder is not there.
    """
    networks: dict[str, ExplainedNetwork] = {}
    saved: dict[str, dict[str, Explainer]] = {}
    for model in [*options.explainers, *([options.model] if options.model else [])]:
        network = _network(model, options)
        digest = network.backbone.digest
        networks.setdefault(digest, network)
        loaded = saved.setdefault(digest, {})
        if network.explainer is not None:
            loaded[free_name(folder_name(model), loaded)] = network.explainer
    first = [_known(name) for name in options.methods]
    return {
        _shown_name(network, alone=len(networks) == 1): ServedNetwork(
            network, saved[digest], [*saved[digest], *first] if first else (), options.seed
        )
        for digest, network in networks.items()
    }


def _network(model: str, options: ServeOptions) -> ExplainedNetwork:
    is_named = model == options.model
    return explained_network(
        ExplainOptions(
            images=Path(),
            model=model,
            weights=options.weights if is_named else None,
            num_classes=options.num_classes if is_named else None,
            classes=options.classes if is_named else None,
            size=options.size if is_named else None,
            device=options.device,
            seed=options.seed,
        )
    )


def _known(name: str) -> str:
    """A method's name as it was given, a short one too, which may stand for a method with options."""
    if name.casefold() in {"inversion", INVERSION.casefold()}:
        return INVERSION
    find_method(name)
    return name


def _shown_name(network: ExplainedNetwork, *, alone: bool) -> str:
    """A network's name, with the beginning of its weights' digest where several are served, which may be of one kind."""
    name = network.backbone.options.name.rpartition(":")[2]
    return name if alone else f"{name} ({network.backbone.digest[:6]})"
