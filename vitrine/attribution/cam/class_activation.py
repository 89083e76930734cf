"""Class activation maps: the base class, a weighted sum over the channels of a layer."""

from abc import abstractmethod

from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Method
from vitrine.attribution.cam.alignment import Alignment, upsampled_by
from vitrine.attribution.receptive_field.cell_centers import CellCenters, centers_of_layer
from vitrine.attribution.target_layer import target_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.known_once import known_once
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.image_ops import with_exact_constants
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full


class ClassActivation(Method):
    """Draws a class as a weighted sum of the channels of a layer, upsampled to the input's size.

    Maps are (B, 1, H, W) in float32 or wider, bilinearly upsampled (see ``alignment``), and not scaled.

    Args:
        model: as in `Method`.
        layer: gives a map (B, C, h, w) or (B, h, w, C), or tokens (B, N, D) whose patch grid is found by running the network
            (see `token_grid`), without class and register tokens; if it is None, the last layer that gives one (see
            `target_layer`), which costs a forward pass of one more input, once for each size.
        relu: whether negative sums are set to 0, before upsampling.
        internal_batch_size: as in `Method`.
        output: as in `Method`.
        alignment: as in `Alignment`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a layer without places in the image, and for a channel.
    """

    explains_channels = False
    draws_target_layer = True

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
        alignment: Alignment = "receptive_field",
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.relu = relu
        self.alignment = alignment

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        layer = self.drawn_layer(inputs)
        return self.drawn(self.coarse_maps(inputs, target, layer), inputs, layer)

    def drawn(self, coarse: Tensor, inputs: Tensor, layer: str | None) -> Tensor:
        """(B, K, 1, H, W) from the (B, K, h, w) maps that `coarse_maps` gives."""
        return self.upsampled(coarse.clamp(min=0) if self.relu else coarse, inputs, layer)[:, :, None]

    @abstractmethod
    def coarse_maps(self, inputs: Tensor, target: Target, layer: str | None) -> Tensor:
        """(B, K, h, w) maps at the resolution of the layer that `drawn_layer` gave, signed."""

    def drawn_layer(self, inputs: Tensor) -> str | None:
        """The named layer, or `target_layer` if none is named, which is looked for once for each size and set of weights.

        A write through ``weight.data`` leaves no trace; name the layer where one makes all weights of a layer zero.
        """
        if self.layer is not None:
            return self.layer
        # A weight of zeros cuts layers off, so that others may be the last one once it is written to or replaced.
        weights = tuple(
            (id(one), one.data_ptr(), -1 if one.is_inference() else one._version)  # noqa: SLF001
            for one in self.model.parameters()
        )
        key = ("target layer", self.output, *inputs.shape[1:], inputs.dtype)
        return known_once(self.model, key, lambda: target_layer(self.model, inputs), weights)

    def upsampled(self, coarse: Tensor, inputs: Tensor, layer: str | None) -> Tensor:
        """(B, K, H, W) from (B, K, h, w) maps of a layer."""
        return upsampled_by(self.alignment, coarse, inputs, lambda: self.cell_centers(inputs, layer))

    def cell_centers(self, inputs: Tensor, layer: str | None) -> CellCenters | None:
        """Where the cells of the drawn layer look; None if that is unknown."""
        return None if layer is None else centers_of_layer(self.model, inputs, layer)

    @staticmethod
    def summands(values: Tensor) -> Tensor:
        """(…, h, w) activations or gradients in float64, for sums over channels; `constant` ones are made exactly so.

        Where channels cancel, the rounding errors of a sum in float32 would be a map where there is none.
        """
        return with_exact_constants(in_full(values)).double()
