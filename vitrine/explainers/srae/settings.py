"""Settings of an SRAE: lists of β, η, n, layers or seeds, made into options of each that are checked before a fit."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from vitrine.core.near_names import did_you_mean
from vitrine.core.options import OptionError
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining

OF_ALL = frozenset({
    "explained_classes", "image_size", "trunk", "decoder", "pretraining_epochs", "classes_at_once",
})  # fmt: skip
"""Options that all settings of a fit have in common."""
OWN = {kind: [field.name for field in fields(kind) if field.name not in OF_ALL] for kind in (SRAEOptions, SRAETraining)}
"""Options that a setting may have of its own, by the dataclass that declares them."""

SettingLists = Mapping[str, Sequence[Any] | Mapping[str, Any]]
"""Values by option, of which every combination is a setting; or, by a setting's name, its values by option."""


@dataclass(frozen=True)
class Setting:
    """One setting of an SRAE.

    Args:
        srae: what is explained, how it is drawn, and the heads' sizes.
        training: how the heads are trained.
    """

    srae: SRAEOptions
    training: SRAETraining

    def with_values(self, values: Mapping[str, Any], key: str) -> "Setting":
        """With some options of `OWN` changed.

        Args:
            values: by option.
            key: of the settings in a configuration, for messages.

        Raises:
            OptionError: for an option that no setting has, and a value that makes no sense.
        """
        own: dict[type, dict[str, Any]] = {kind: {} for kind in OWN}
        for name, value in values.items():
            kind, today = _declared(name, value, key)
            own[kind][today] = value
        try:
            return Setting(replace(self.srae, **own[SRAEOptions]), replace(self.training, **own[SRAETraining]))
        except OptionError as error:
            raise OptionError(f"{key}.{error.name}", error.value, error.wanted) from error


def _declared(name: str, value: object, key: str) -> tuple[type, str]:
    """Where an option is declared, and its name of today."""
    for kind in (SRAEOptions, SRAETraining):
        today = kind.path_of(name)
        if today in OWN[kind]:
            return kind, today
        if today is not None:
            group = "srae" if kind is SRAEOptions else "training"
            raise OptionError(f"{key}.{name}", value, f"it in {group}, as all settings have it in common")
    known = [one for names in OWN.values() for one in names]
    near = did_you_mean(name, known).removesuffix("?")
    raise OptionError(f"{key}.{name}", value, f"an option that a setting may have, one of {', '.join(known)}{near}")


def settings_of(base: Setting, settings: SettingLists, key: str = "settings") -> dict[str, Setting]:
    """All settings by name, in the order in which they are given.

    Args:
        base: what holds where a setting says nothing.
        settings: lists of values by option, such as ``{"beta": [1, 5], "eta": [0.1, 0.5]}``, whose combinations are named
            ``beta=1,eta=0.1`` and so on; or values of each setting by its name, such as ``{"weak": {"beta": 1}}``.
        key: of the settings in a configuration, for messages.

    Raises:
        OptionError: without a setting, for lists beside names, an option that no setting has, a value that makes no sense,
            and a setting that is there twice.

    Example:
        >>> base = Setting(SRAEOptions("layer4"), SRAETraining())
        >>> found = settings_of(base, {"beta": [1, 5], "hidden": [[64, 16]]})
        >>> {name: (setting.training.beta, setting.srae.hidden) for name, setting in found.items()}
        {'beta=1,hidden=64-16': (1, [64, 16]), 'beta=5,hidden=64-16': (5, [64, 16])}
    """
    named = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    if len(named) == len(settings):
        found = {name: base.with_values(values, f"{key}.{name}") for name, values in named.items()}
    elif named:
        wanted = "a list of values as for the other options, or a name with options for each setting"
        raise OptionError(f"{key}.{next(iter(named))}", next(iter(named.values())), wanted)
    else:
        found = _combinations(base, settings, key)
    if not found:
        raise OptionError(key, dict(settings), "lists of values, such as {beta: [1, 5], eta: [0.1, 0.5]}")
    return found


def _combinations(base: Setting, settings: SettingLists, key: str) -> dict[str, Setting]:
    for name, values in settings.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise OptionError(f"{key}.{name}", values, f"a list of values, such as {key}.{name}: [{values or 1}]")
    found: dict[str, Setting] = {}
    for values in itertools.product(*settings.values()) if settings else ():
        chosen = dict(zip(settings, values, strict=True))
        name = ",".join(f"{option}={_told(value)}" for option, value in chosen.items())
        if name in found:
            raise OptionError(key, dict(settings), f"each value once: {name} is there twice")
        found[name] = base.with_values(chosen, key)
    return found


def _told(value: object) -> str:
    """A value in the name of a folder."""
    return "-".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
