"""`Method`, the base class of all attribution methods."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor, nn

from vitrine.attribution.captum_arguments import (
    AnyTarget,
    Inputs,
    ScoreFunction,
    checked_scores,
    in_callers_form,
    plain_target,
    single_tensor,
)
from vitrine.attribution.targets import Indices, Target, index_tensor
from vitrine.backbones.batch_mixing import mixes_batch
from vitrine.backbones.compiled import check_layers_are_seen, uncompiled
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import OutputChoice, chosen_part, class_logits, logits_given
from vitrine.backbones.partial_passes import outputs_of
from vitrine.backbones.taps import resolve_layer
from vitrine.core.image_inputs import check_images, run_errors_named
from vitrine.core.options import Count, checked


class SharedPass(NamedTuple):
    """A forward pass whose graph several methods go back through."""

    pixels: Tensor
    """(B, C, H, W), the leaf that the graph begins with."""
    logits: Tensor
    """(B, n)."""
    as_rectified: Callable[[str], AbstractContextManager[None]]
    """Contexts for backward passes that go through rectifiers by the rule of ``guided`` or ``deconvnet``."""


class Method(ABC):
    """Explains a class of a model, or a channel of one of its layers, by a map over the pixels of its input.

    The model runs in eval mode, and no call changes it, also not one that fails (see `eval_guard`). The map of an input does
    not depend on the other inputs of its batch.

    The class attributes say what holds of a method; tests, benchmarks and the table in ``docs/attribution.md`` read them.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits, or to an output that holds them (see `class_logits`): maps of
            logits count by their mean over all places.
        layer: dotted name or submodule: the target layer of methods that draw activations, and the layer whose channels
            can be explained.
        internal_batch_size: the most inputs that go through the model at once; it bounds memory and changes no result.
        output: which part of the model's output holds the logits, where it is no tensor: a key, an attribute, a place in a
            tuple, or a function of the output.

    Raises:
        ValueError: if the model has no such layer, or an option is out of range.

    Example:
        >>> import torch
        >>> class Brightness(Method):
        ...     def maps(self, inputs, target):
        ...         return inputs.mean(dim=1)[:, None, None].repeat(1, target.num_maps, 1, 1, 1)
        >>> Brightness(torch.nn.Flatten()).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    explains_classes: ClassVar[bool] = True
    """Whether it explains classes; otherwise a channel has to be given."""
    explains_channels: ClassVar[bool] = True
    """Whether it explains channels of a layer."""
    gradient_like: ClassVar[bool] = False
    """Whether maps have the channels of the input, (B, C, H, W); others have one, (B, 1, H, W)."""
    signed: ClassVar[bool] = False
    """Whether maps can be negative, with the default options."""
    additive: ClassVar[bool] = False
    """Whether the values of a map add up to the explained output, or its change; then channels of maps are summed."""
    draws_target_layer: ClassVar[bool] = False
    """Whether maps are drawn over ``layer``, or over that of `target_layer` if none is named."""
    smoothed_for_pointing: ClassVar[bool] = False
    """Whether the map's maximum is taken after smoothing, since single pixels stand out or the maximum is flat."""
    slow: ClassVar[bool] = False
    """Whether it makes many forward passes for each input, with the default options."""
    network_requirement: ClassVar[str] = ""
    """What a network needs so that the method does not refuse it; empty for any network."""
    takes_torchscript: ClassVar[bool] = False
    """Whether it needs the model's output and its gradient alone, which TorchScript gives, and looks at no layer."""
    rectifies: ClassVar[bool] = False
    """Whether the backward pass goes through rectifiers by a rule of its own, where `maps_of_pass` reads a shared one."""
    paper: ClassVar[str] = ""
    """Authors and year of the paper."""
    quick_options: ClassVar[Mapping[str, Any]] = {}
    """Options with which a slow method takes milliseconds on a small image, with poor maps; tests use them."""
    handles_batch_size: ClassVar[bool] = False
    """Whether `maps` is given whole batches and keeps to ``internal_batch_size`` itself."""
    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Options that were renamed, by their earlier names; these are refused with the present name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.RENAMED and "__init__" in vars(cls):
            cls.__init__ = _refusing_renamed(vars(cls)["__init__"], cls.RENAMED)  # type: ignore[method-assign]

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        self.model = uncompiled(model)
        self.output = output
        self.layer = None if layer is None else resolve_layer(self.model, layer)
        self.internal_batch_size = internal_batch_size

    @overload
    def attribute(
        self,
        inputs: Tensor,
        target: AnyTarget | None = None,
        channel: Indices | None = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> Tensor: ...

    @overload
    def attribute(
        self,
        inputs: tuple[Tensor, ...],
        target: AnyTarget | None = None,
        channel: Indices | None = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> tuple[Tensor, ...]: ...

    def attribute(
        self,
        inputs: Inputs,
        target: AnyTarget | None = None,
        channel: Indices | None = None,
        *,
        input_shaped: bool = False,
        additional_forward_args: None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Computes one map for each input, or K of them.

        Args:
            inputs: (B, C, H, W) as the model takes them; or a tuple of one such tensor, as Captum's metrics have it.
            target: index of the explained class: one for all inputs, a list or (B,) tensor of one for each, or a (B, K)
                tensor; the predicted class if it is None. Of an output (B, n, …) also a tuple with an index along each
                dimension after the first, or a list of B such tuples. Or a function of the model's output, whatever that
                is, which gives (B,) scores; these count as logits.
            channel: index of the explained channel of ``layer``, instead of a class; shaped like ``target``.
            input_shaped: whether a map with one channel is repeated for each channel of the input, as Captum's ``infidelity``
                needs it.
            additional_forward_args: None; there for those who pass on Captum's arguments.

        Returns:
            (B, C, H, W) of gradient-like methods, (B, 1, H, W) of others, neither clamped nor rescaled unless the method
            says so; (B, K, …) for a (B, K) tensor of targets or channels; in a tuple where the inputs were in one.

        Raises:
            ValueError: if the class or channel does not exist, or the method does not explain it; and for inputs that the
                model does not take.
        """
        images = single_tensor(inputs, additional_forward_args)
        check_images(images, "inputs", finite=True)
        plain = plain_target(target, self.output, lambda: self._output_dimensions(images))
        if isinstance(plain, list) and any(map(callable, plain)):
            if len(plain) != len(images):
                raise ValueError(f"target holds {len(plain)} places for {len(images)} inputs; give one for each.")
            rows = zip(torch.split(images, 1), plain, strict=True)
            maps = torch.cat([self._maps_explaining(image, one, channel) for image, one in rows])
        else:
            maps = self._maps_explaining(images, plain, channel)
        returned: Tensor | tuple[Tensor, ...] = in_callers_form(maps, inputs, input_shaped=input_shaped)
        return returned

    def _maps_explaining(
        self, inputs: Tensor, target: Indices | ScoreFunction | None, channel: Indices | None
    ) -> Tensor:
        """(B, …) maps of what is explained; scores of a function are the one logit of an output of their own."""
        output = self.output
        if callable(target):
            if isinstance(
                self.model, torch.jit.ScriptModule
            ):  # takes no hooks, so that its own output would be explained
                raise ValueError(
                    "A target function or a place is not taken of a ScriptModule; give the nn.Module that it was made of, or"
                    " wrap it in an nn.Module that returns (B, n) scores, and give the index of one."
                )
            output, target = checked_scores(target), 0
        if not self.takes_torchscript:
            check_layers_are_seen(self.model, type(self).__name__)
        with eval_guard(self.model), logits_given(self.model, output), torch.inference_mode(mode=False):
            explained = self.explained_target(len(inputs), target, channel)
            inputs = inputs.detach().clone()  # outside inference mode, and never the caller's own memory
            with run_errors_named(type(self).__name__, inputs), self._one_by_one_if_mixed(inputs):
                one_call = self.handles_batch_size and self.internal_batch_size != 1
                size = None if one_call else self.internal_batch_size
                batches = [self.maps(inputs[rows], explained.select(rows)) for rows in batch_slices(len(inputs), size)]
        maps = batches[0] if len(batches) == 1 else torch.cat(batches)
        return maps if explained.is_multiple else maps.squeeze(1)

    @torch.no_grad()
    def _output_dimensions(self, images: Tensor) -> int:
        """Dimensions of the model's output without the first; 0 where it is no tensor."""
        with eval_guard(self.model), run_errors_named(type(self).__name__, images):
            output = chosen_part(self.model(images[:1].clone()), self.output)
        return output.ndim - 1 if isinstance(output, Tensor) else 0

    @contextmanager
    def _one_by_one_if_mixed(self, inputs: Tensor) -> Iterator[None]:
        """Within it a model whose output depends on the batch runs on one image at a time."""
        batch_size = self.internal_batch_size
        # Of one image too: methods that perturb it make a batch of it alone.
        probe = inputs.expand(2, -1, -1, -1) if len(inputs) == 1 else inputs
        if batch_size != 1 and mixes_batch(self.model, probe, batch_size):
            self.internal_batch_size = 1
        try:
            yield
        finally:
            self.internal_batch_size = batch_size

    @abstractmethod
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        """Computes the maps of a batch; the model is in eval mode, and its parameters are constants.

        Args:
            inputs: (B, C, H, W), a copy that may be changed.
            target: what is explained, K times for each input.

        Returns:
            (B, K, C, H, W) or (B, K, 1, H, W), detached.
        """

    def reader(self, inputs: Tensor) -> AbstractContextManager[Any] | None:  # noqa: ARG002 - of subclasses
        """What watches a forward pass from which `maps_of_pass` takes the maps, so that several methods share it.

        Args:
            inputs: (B, C, H, W).

        Returns:
            A context for the forward pass, whose value `maps_of_pass` is given; None if the method needs a pass of its own.
        """
        return None

    def maps_of_pass(self, shared: SharedPass, seen: Any, target: Target) -> Tensor:  # noqa: ARG002 - of subclasses
        """What `maps` gives for a class, of a forward pass that other methods read too.

        Args:
            shared: the pass, whose graph stays alive.
            seen: the value of `reader`.
            target: what is explained, no channel.

        Raises:
            ValueError: for a method without a `reader`.
        """
        raise ValueError(f"{type(self).__name__} needs a forward pass of its own; call attribute.")

    def explained_output(self, inputs: Tensor, target: Target, *, may_end: Callable[[], bool] = lambda: True) -> Tensor:
        """Runs the model once for the (B, n) logits, or up to the target's layer for its (B, n, …) output.

        Args:
            inputs: (B, C, H, W).
            target: what is explained.
            may_end: whether the pass may end at the layer, asked when it is there (see `outputs_of`).

        Raises:
            ValueError: if that is not a tensor with a batch and a class or channel dimension.
        """
        if target.layer is None:
            output = self.model(inputs)
        else:
            output = outputs_of(self.model, inputs, [target.layer], may_end=may_end)[target.layer]
        return checked_output(output, len(inputs), target.layer)

    def target_indices(self, inputs: Tensor, target: Target) -> Tensor:
        """(B, K) indices of the target, by forward passes of at most ``internal_batch_size`` inputs.

        Raises:
            ValueError: if an index is out of range.
        """
        with torch.no_grad():
            indices = [
                # Copies, as the first operator may work in place, and outputs may be tensors of inference mode.
                target.select(rows).resolve(self.explained_output(inputs[rows].clone(), target)).clone()
                for rows in batch_slices(len(inputs), self.internal_batch_size)
            ]
        return torch.cat(indices)

    def explained_target(self, batch_size: int, target: Indices | None, channel: Indices | None) -> Target:
        """What is explained, from the arguments of `attribute`.

        Raises:
            ValueError: if the method does not explain it.
        """
        name = type(self).__name__
        if not self.explains_classes and (channel is None or target is not None):
            raise ValueError(f"{name} explains channels, not classes; give channel alone, or use GradCAM for a class.")
        if not self.explains_channels and channel is not None:
            raise ValueError(
                f"{name} explains classes, not channels; use UpsampledActivation for a channel's own map, or Deconvnet for"
                " what excites it."
            )
        if channel is None:
            return Target(None if target is None else index_tensor(target, batch_size, "target"))
        if target is not None:
            raise ValueError(f"{name} was given both a target and a channel; a map explains one or the other.")
        if self.layer is None:
            raise ValueError(f"{name} was given a channel but no layer; name the layer: {name}(model, layer=…).")
        return Target(index_tensor(channel, batch_size, "channel"), self.layer)


def _refusing_renamed(constructor: Callable[..., None], renamed: Mapping[str, str]) -> Callable[..., None]:
    @functools.wraps(constructor)
    def construct(self: Method, *args: Any, **options: Any) -> None:
        for old, new in renamed.items():
            if old in options:
                raise ValueError(f"{type(self).__name__} has no option {old!r} any more; its name is {new!r} now.")
        constructor(self, *args, **options)

    return construct


def batch_slices(count: int, size: int | None) -> list[slice]:
    """Slices of at most ``size`` that make up ``count`` rows; one of all rows without it, and an empty one of no rows."""
    step = size or max(count, 1)
    return [slice(start, start + step) for start in range(0, max(count, 1), step)]


def checked_output(output: object, batch_size: int, layer: str | None) -> Tensor:
    """The output of the model, or of a layer.

    Raises:
        ValueError: if it is not a tensor with a batch and a class or channel dimension.
    """
    if layer is None:
        return class_logits(output, batch_size)
    if not isinstance(output, Tensor):
        raise ValueError(f"The output of layer {layer!r} is a {type(output).__name__}; one tensor can be explained.")
    if output.ndim < 2 or len(output) != batch_size:
        raise ValueError(
            f"The output of layer {layer!r} must be (B, n, …) with B = {batch_size}, got {tuple(output.shape)}."
        )
    return output
