"""Rectifiers whose backward pass is chosen when it runs, so that gradient, guided backprop and deconvnet share a graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

from torch import Tensor

from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.autograd.interception import Rule
from vitrine.attribution.autograd.rules import MAXIMA, RECTIFIERS, is_rectifier, maximum_with_0
from vitrine.attribution.autograd.swish import swish_operand

RectifierRule = Literal["guided", "deconvnet"]


class CannotBeSwitched(Exception):  # noqa: N818 - no error: the methods run apart
    """A rectifier that is more than one node of the graph, or whose forward pass rests on the rule."""


class SwitchedRectifiers:
    """Rules of rectifiers that keep their own gradient, unless a backward pass runs within `by_rule`."""

    def __init__(self) -> None:
        self.rule: RectifierRule | None = None

    @contextmanager
    def by_rule(self, rule: str) -> Iterator[None]:
        """A context for backward passes with R = g⁺ f′(x) (``guided``) or R = g⁺ (``deconvnet``) at each rectifier f."""
        if rule not in get_args(RectifierRule):
            raise ValueError(f"rule is {rule!r}; give {' or '.join(map(repr, get_args(RectifierRule)))}.")
        self.rule = cast(RectifierRule, rule)
        try:
            yield
        finally:
            self.rule = None

    def rules(self) -> dict[str, Rule]:
        """By operator name, for an interception.

        Raises:
            CannotBeSwitched: of a rule, for a maximum with 0, whose gradient at 0 is not that of a ReLU, and a Swish that is
                written out.
        """
        switched = dict.fromkeys(RECTIFIERS, self._switched)
        maxima = dict.fromkeys(MAXIMA, _refused_if(lambda call: maximum_with_0(call) is not None))
        return switched | maxima | {"mul": _refused_if(lambda call: swish_operand(call) is not None)}

    def _switched(self, call: Call) -> Any:
        if not is_rectifier(call):
            return NotImplemented
        output = call()
        node = output.grad_fn
        if node is None or sum(child is not None for child, _ in node.next_functions) != 1:
            raise CannotBeSwitched
        node.register_prehook(self._before)
        node.register_hook(self._after)
        return output

    def _before(self, above: Sequence[Tensor | None]) -> Any:
        """Cuts what arrives at a rectifier."""
        if self.rule is None:
            return None
        return tuple(None if signal is None else signal.clamp(min=0) for signal in above)

    def _after(self, below: Sequence[Tensor | None], above: Sequence[Tensor | None]) -> Any:
        """Passes on what arrives at the rectifier of a deconvnet, whatever its slope."""
        if self.rule != "deconvnet":
            return None
        (signal,) = above
        passed = None if signal is None else signal.clamp(min=0)
        return tuple(None if gradient is None else passed for gradient in below)


def _refused_if(is_rectifier: Callable[[Call], bool]) -> Rule:
    def refuse(call: Call) -> Any:
        if is_rectifier(call):
            raise CannotBeSwitched
        return NotImplemented

    return refuse
