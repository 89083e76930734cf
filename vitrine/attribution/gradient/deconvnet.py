"""Deconvnet and guided backprop, with and without the strides of the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, send_back
from vitrine.attribution.autograd.interception import Interception, Rule
from vitrine.attribution.autograd.rules import RECTIFIERS, deconvnet_rules, guided_rules
from vitrine.attribution.autograd.stride_one import stride_one_rules
from vitrine.attribution.base import Method, Unit

Start = Literal["activation", "maximum"]


class Deconvnet(Method):
    """Sends a unit's signal back to the pixels, rectified at every rectifier on the way: R = g⁺.

    Rectifiers are seen wherever they are called: as modules, functions, reused or in place. A smooth one (GELU, SiLU, …)
    passes the positive signal as ReLU does; other operators, sigmoid gates and attention among them, keep their gradient.

    A class starts from one at its logit, a channel from its own activation map.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        stride_one: takes strided convolutions back with stride 1 over the signal resampled by nearest neighbour, so that no
            grid is left in the heatmap (section 3.3 of Oramas et al., ICLR 2019).
        pooling: with ``stride_one``, ``switches`` sends a pooled signal to where it was taken from (the authors' choice);
            ``resampled`` takes pooling back with stride 1 too.
        start: of a channel: its whole ``activation`` map, or a one at its ``maximum``.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: for an unknown word or layer; of ``attribute`` also where the model has no rectifier, since the map would
            be the plain gradient.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        stride_one: bool = False,
        pooling: str = "switches",
        start: str = "activation",
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        if start not in get_args(Start):
            raise ValueError(f"start {start!r} is unknown; choose one of {', '.join(get_args(Start))}.")
        self.strided_rules = stride_one_rules(pooling) if stride_one else {}
        self.start = start

    def rectifier_rules(self) -> dict[str, Rule]:
        """What becomes of the signal at the rectifiers."""
        return deconvnet_rules()

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        with self.intercepting(), torch.enable_grad():
            pixels = inputs.requires_grad_()
            output = self.explained_output(pixels.clone(), unit)  # a leaf may not be changed in place
        starts = [self.start_of(output.detach(), column) for column in unit.of(output).unbind(dim=1)]
        return torch.stack(list(send_back(output, pixels, starts)), dim=1)

    @contextmanager
    def intercepting(self) -> Iterator[None]:
        """Within it, forward passes get the method's own backward pass.

        Raises:
            ValueError: on leaving, where no rectifier was met.
        """
        with Interception(self.rectifier_rules() | self.strided_rules) as mode:
            yield
        if not mode.met & RECTIFIERS:
            raise ValueError(
                f"{type(self).__name__} met no ReLU or other rectifier in {type(self.model).__name__}, so that its map would"
                " be the plain gradient; use Saliency for that."
            )

    def start_of(self, output: Tensor, units: Tensor) -> Tensor:
        """The signal that units (B,) of a (B, n, …) output start from, of the output's shape."""
        chosen = one_hot(output, units)
        if output.ndim == 2:
            return chosen
        if self.start == "activation":
            return chosen * output
        flat = torch.where(chosen > 0, output, -torch.inf).flatten(1)
        return torch.zeros_like(flat).scatter_(1, flat.argmax(dim=1, keepdim=True), 1.0).view_as(output)


class GuidedBackprop(Deconvnet):
    """A deconvnet whose signal also stops where the forward pass was rectified: R = g⁺ f′(x) at a rectifier f.

    For ReLU, that is g⁺ where x > 0; for ReLU6, g⁺ where 0 < x < 6; a smooth one (GELU, SiLU, …) keeps its own slope.
    All else, the arguments too, is as in `Deconvnet`; with ``stride_one`` it is the heatmap of Oramas et al., ICLR 2019.
    """

    @override
    def rectifier_rules(self) -> dict[str, Rule]:
        return guided_rules()
