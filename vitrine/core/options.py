"""Options that check themselves: numbers with a range in their type, choices, and one wording for what is refused.

An option that takes a number states its range in its annotation, such as `Positive` or `Annotated[int, Range(at_least=2)]`.
A frozen dataclass that inherits `Options` is checked when it is made, a function under `checked` when it is called.
"""

import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, ParamSpec, Self, TypeVar, Union, cast, get_args, get_origin

import numpy as np

from vitrine.core.near_names import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes; never NaN, and infinity only where ``finite`` is False.

    Args:
        above: the number has to be greater.
        at_least: the number has to be as large or greater.
        below: the number has to be less.
        at_most: the number has to be as large or less.
        finite: whether infinity is refused.
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    finite: bool = True

    def __contains__(self, value: float) -> bool:
        return (
            not math.isnan(value)
            and not (self.finite and math.isinf(value))
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def __repr__(self) -> str:
        """As a sentence goes on: ``a number above 0``."""
        if self.at_least is not None and self.at_most is not None:
            return f"a number from {self.at_least:g} to {self.at_most:g}"
        low = f"above {self.above:g}" if self.above is not None else ""
        if self.at_least is not None:
            low = f"{self.at_least:g} or more"
        high = f"below {self.below:g}" if self.below is not None else ""
        if self.at_most is not None:
            high = f"{self.at_most:g} or less"
        words = " and ".join(filter(None, (low, high))) or "that is not NaN"
        return f"a number {words}" if words.startswith(("above", "below", "that")) else words


Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(at_least=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Count = Annotated[int, Range(at_least=1)]
CountOrZero = Annotated[int, Range(at_least=0)]


class OptionError(ValueError):
    """An option that makes no sense. Its text is ``NAME is VALUE; give …``.

    Args:
        name: of the option, dotted where it stands within another.
        value: what was given.
        wanted: what would be right.
    """

    def __init__(self, name: str, value: object, wanted: str) -> None:
        shown = repr(value) if isinstance(value, str) else "null" if value is None else str(value)
        super().__init__(f"{name} is {shown}; give {wanted}.")
        self.name, self.value, self.wanted = name, value, wanted


@dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses of options, each declared, documented and checked here and handed on whole.

    Raises:
        OptionError: for a value that its field's annotation does not allow.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Earlier names of fields, as they stand in explainers saved earlier, and today's."""

    def __post_init__(self) -> None:
        hints = _hints(cast("Any", type(self)))
        for field in fields(self):
            check_value(field.name, getattr(self, field.name), hints[field.name])

    @classmethod
    def path_of(cls, name: str) -> str | None:
        """Where an option stands in here, by today's or an earlier name: the field, dotted where within one; None if not."""
        field = cls.RENAMED.get(name, name)
        return field if field in {one.name for one in fields(cls)} else None

    def to_dict(self) -> dict[str, Any]:
        """JSON types by field; `from_dict` reads them."""
        return {name: _as_json(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` gave, also under earlier names.

        Raises:
            ValueError: for a name that is no field, a name that is there beside its earlier one, and a value that makes no
                sense.
        """
        hints = _hints(cast("Any", cls))
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for given, value in entries.items():
            name = cls.RENAMED.get(given, given)
            if name not in known:
                raise ValueError(f"{cls.__name__} has no option {given!r}{did_you_mean(given, known) or '.'}")
            if name in values:
                raise ValueError(f"{cls.__name__} has {name!r} twice, once under its earlier name; give one of them.")
            values[name] = _from_json(name, value, hints[name])
        return cls(**values)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Checks the arguments of a function, such as a constructor, against its annotations when it is called.

    Raises:
        OptionError: from the call, for a value that its annotation does not allow.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if name in hints and kind not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
                check_value(name, value, hints[name])
        return function(*args, **kwargs)

    return call


@functools.cache
def _hints(declared: Any) -> dict[str, Any]:
    return typing.get_type_hints(declared, include_extras=True)


def check_value(name: str, value: object, annotation: Any) -> None:
    """Checks one value against its annotation: ranges, choices, null, and the entries of sequences.

    Types that say nothing of ranges, such as tensors and modules, are not looked at.

    Raises:
        OptionError: where it is not allowed.
    """
    reason = _reason(name, value, annotation)
    if reason is not None:
        raise reason


def _reason(name: str, value: object, annotation: Any) -> OptionError | None:  # noqa: PLR0911 - one for each form
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        range_ = next((entry for entry in arguments[1:] if isinstance(entry, Range)), None)
        reason = _reason(name, value, arguments[0])
        if reason is not None or range_ is None:
            return reason if range_ is None or reason is None else OptionError(name, value, _wanted(annotation, value))
        return None if value in range_ else OptionError(name, value, _wanted(annotation, value))  # type: ignore[operator]
    if origin in {Union, types.UnionType}:
        reasons = [_reason(name, value, one) for one in arguments]
        return None if None in reasons else OptionError(name, value, _wanted(annotation, value))
    if origin is Literal:
        return (
            None
            if any(value == one and type(value) is type(one) for one in arguments)
            else _refused(name, value, annotation)
        )
    if annotation in {None, type(None)}:
        return None if value is None else _refused(name, value, annotation)
    if annotation in {int, float, bool, str}:
        return None if _is_plain(value, annotation) else _refused(name, value, annotation)
    if origin in {Sequence, list, tuple} or annotation in {Sequence, list, tuple}:
        return _reason_in_sequence(name, value, annotation, arguments)
    return _reason_as_a_whole(name, value, annotation)


def _reason_as_a_whole(name: str, value: object, annotation: Any) -> OptionError | None:
    """Of keys with values, paths and options within options, whose entries are not looked at here."""
    if get_origin(annotation) in {Mapping, dict}:
        return None if isinstance(value, Mapping) else _refused(name, value, annotation)
    if annotation is Path and value is None:
        return _refused(name, value, annotation)
    if isinstance(annotation, type) and issubclass(annotation, Options) and not isinstance(value, annotation):
        return OptionError(name, value, f"{annotation.__name__}(…)")
    return None


def _reason_in_sequence(name: str, value: object, annotation: Any, arguments: tuple[Any, ...]) -> OptionError | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return _refused(name, value, annotation)
    kinds = [one for one in arguments if one is not Ellipsis]
    fixed = get_origin(annotation) is tuple and Ellipsis not in arguments and bool(kinds)
    if fixed and len(value) != len(kinds):
        return _refused(name, value, annotation)
    for place, entry in enumerate(value):
        reason = _reason(f"{name}[{place}]", entry, kinds[place] if fixed else kinds[0]) if kinds else None
        if reason is not None:
            return reason
    return None


def _is_plain(value: object, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind is float:
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        return number and not math.isnan(float(value))  # type: ignore[arg-type]
    return isinstance(value, kind)


def _refused(name: str, value: object, annotation: Any) -> OptionError:
    return OptionError(name, value, _wanted(annotation, value))


def _wanted(annotation: Any, value: object = None) -> str:  # noqa: PLR0911 - one for each form
    """What an annotation allows instead of a value, as a sentence goes on: ``a number above 0``, ``'clamp' or 'zplus'``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        range_ = next((entry for entry in arguments[1:] if isinstance(entry, Range)), None)
        if range_ is None:
            return _wanted(arguments[0], value)
        text = repr(range_)
        if arguments[0] is not int:
            return text
        known_whole = "a number" in text or _is_plain(value, int)
        return text.replace("a number", "a whole number") if known_whole else f"a whole number, {text}"
    if origin in {Union, types.UnionType}:
        return _joined([_wanted(one, value) for one in arguments])
    if origin is Literal:
        return _joined([repr(one) for one in arguments])
    if origin in {Sequence, list, tuple} or annotation in {Sequence, list, tuple}:
        kinds = [one for one in arguments if one is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments and kinds:
            return f"a list of {len(kinds)} entries"
        return f"a list, each entry {_wanted(kinds[0])}" if kinds else "a list"
    if origin in {Mapping, dict}:
        return "keys with values"
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    if annotation in {None, type(None)}:
        return "null"
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_as_json(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _as_json(entry) for name, entry in value.items()}
    return value


def _from_json(name: str, value: Any, annotation: Any) -> Any:
    """What `_as_json` made a JSON type of: options within options, tuples and paths."""
    members = get_args(annotation) if get_origin(annotation) in {Union, types.UnionType} else (annotation,)
    for one in members:
        if isinstance(one, type) and issubclass(one, Options) and isinstance(value, Mapping):
            try:
                return one.from_dict(value)
            except OptionError as error:
                raise OptionError(f"{name}.{error.name}", error.value, error.wanted) from None
        if one is Path and isinstance(value, str) and str not in members:
            return Path(value)
        if tuple in {one, get_origin(one)} and isinstance(value, list):
            return tuple(value)
    return value


def option_path(declared: type, name: str) -> str:
    """Where an option stands among a constructor's parameters, such as ``srae.layer``; its name where it is one itself.

    Args:
        declared: the class, whose constructor, or that of a base, takes dataclasses of options. Its ``RENAMED`` maps
            earlier names to today's, dotted where within a parameter.
        name: of a field of one of them, today's or an earlier one, or of a parameter.
    """
    for base in inspect.getmro(declared):
        renamed = vars(base).get("RENAMED", {})
        if name in renamed:
            return str(renamed[name])
        if "__init__" not in vars(base):
            continue
        hints = _hints(base.__init__)  # type: ignore[misc]  # looked at, not called
        if name in hints:
            return name
        for parameter, hint in hints.items():
            path = hint.path_of(name) if isinstance(hint, type) and issubclass(hint, Options) else None
            if path is not None:
                return f"{parameter}.{path}"
    return name


def grouped(declared: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor from options by their names alone, each put into the dataclass that declares it.

    Args:
        declared: the class, whose constructor takes dataclasses of options.
        options: values by the names of fields of these dataclasses, or of parameters.
    """
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *parents, last = option_path(declared, name).split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    hints = parameter_types(declared)
    return {name: _made(value, hints.get(name)) for name, value in tree.items()}


def parameter_types(declared: type) -> dict[str, Any]:
    """Annotations of a constructor's parameters, and of those of its bases' to which it passes further options on.

    Constructors of other libraries whose annotations cannot be evaluated are left out.
    """
    annotations: dict[str, Any] = {}
    for base in inspect.getmro(declared)[:-1]:
        if "__init__" not in vars(base):
            continue
        constructor = base.__init__  # type: ignore[misc]  # looked at, not called
        with suppress(NameError):
            annotations = _hints(constructor) | annotations
        if all(
            one.kind is not inspect.Parameter.VAR_KEYWORD for one in inspect.signature(constructor).parameters.values()
        ):
            break
    return annotations


def _made(value: Any, hint: Any) -> Any:
    is_options = isinstance(hint, type) and issubclass(hint, Options) and isinstance(value, Mapping)
    return hint(**value) if is_options else value


def with_full_key(message: str, config: Mapping[str, Any]) -> str:
    """The message of an `OptionError` with the full key of its option, as it stands in a configuration.

    Args:
        message: ``NAME is VALUE; give …``; any other comes back as it is.
        config: nested mappings and lists of the run, in which the option is sought by its name and value.
    """
    told = re.match(r"([A-Za-z_][\w.]*)((?:\[\d+\])*) is (.*?); give ", message)
    if told is None:
        return message
    name, value = told[1], told[3].strip("'")
    for path, found in _entries(config, ""):
        whole = path == name or path.endswith(f".{name}")
        if whole and (told[2] or str(found) == value or (found is None and value == "null")):
            return f"{path}{message[len(name) :]}"
    return message


def _entries(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of all entries of nested mappings and lists."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _entries(value, f"{path}.{name}" if path else str(name))
    elif isinstance(config, list):
        for place, value in enumerate(config):
            yield from _entries(value, f"{path}[{place}]")
    if path:
        yield path, config
