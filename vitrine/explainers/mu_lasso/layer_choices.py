"""Layers whose filters the μ-Lasso can take and draw: what a network refuses, and layers of it that work, found by trying."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor, nn

from vitrine.attribution.autograd.backward import noise_image
from vitrine.attribution.gradient.deconvnet import GuidedBackprop
from vitrine.backbones.compiled import check_layers_are_seen
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import SIZE_ERRORS, check_size, working_size
from vitrine.core.error_texts import first_line
from vitrine.core.near_names import near_names
from vitrine.core.options import OptionError
from vitrine.filters.heatmaps import check_filters
from vitrine.filters.layers import response_layers
from vitrine.filters.responses import FilterResponses
from vitrine.filters.token_layers import module_of

NEAR = 4
"""Near names, and layers within a named one, that are tried before others."""
MOST_TRIALS = 12
MOST_NAMED = 3
"""Layers that an error names where all of a kind were asked for."""


class FilterChoices:
    """Makes the responses of a network, or refuses its image size and layers by naming some that were tried and work.

    Args:
        backbone: the network.
        method: that draws filters.
        layers: as in `response_layers`.
        image_size: side of the images in pixels.
        others: further arguments of `FilterResponses`.
    """

    def __init__(
        self, backbone: FrozenBackbone, method: GuidedBackprop, layers: Any, image_size: int, **others: Any
    ) -> None:
        self.backbone = backbone
        self.method = method
        self.layers = layers
        self.image_size = image_size
        self.others = others

    def responses(self) -> FilterResponses:
        """The responses of the layers.

        Raises:
            OptionError: of ``image_size`` or ``layers``, with a value that works.
            ValueError: as in `FilterResponses`, where there is none.
        """
        check_layers_are_seen(self.backbone.model, "A μ-Lasso")
        try:
            return self._responses_of(self.layers)
        except SIZE_ERRORS as error:
            if isinstance(error, OptionError):
                raise
            if working_size(self.backbone) is not None:
                check_size(self.backbone, self.image_size)
            works = self._working() if isinstance(error, ValueError) else []
            if not works:
                raise
            raise self._refused(error, works) from error

    def check_drawable(self, responses: FilterResponses) -> None:
        """Makes sure, by an image of noise, that filters of each layer can be drawn, which a fit does not show.

        Raises:
            OptionError: of ``layers`` where it is not so, with some that work.
        """
        try:
            check_filters(self.method, self._image(), responses.layers)
        except (ValueError, RuntimeError) as error:
            raise self._refused(error, self._working()) from error

    def _refused(self, error: Exception, works: list[str]) -> OptionError:
        wanted = f"{works}, which work{'s' if len(works) == 1 else ''}"
        if not works:
            wanted = "layers of another network, as none of this one was found whose filters can be drawn"
        return OptionError("layers", self.layers, f"{wanted}: {first_line(error)}")

    def _working(self) -> list[str]:
        """Those of the named layers that work, with near ones instead of the others; the last ones that do if there are none.

        Of all layers some are tried, spread over the network.
        """
        named = [] if isinstance(self.layers, str) else self.layers
        candidates = [[name] if self._works(name) else self._near(name) for name in named]
        found = [next(filter(self._works, near), None) for near in candidates]
        if any(found):
            return list(dict.fromkeys(filter(None, found)))
        names = self._all()
        spread = names[::-1][:: -(-len(names) // MOST_TRIALS) or 1]
        return list(islice(filter(self._works, spread), 1 if named else MOST_NAMED))[::-1]

    def _near(self, name: str) -> list[str]:
        """Layers within a layer and around it, or those of near names where there is no such layer."""
        names, module = [known for known, _ in self.backbone.model.named_modules() if known], module_of(name)
        if module not in names:
            return near_names(module, names, NEAR)
        within = [known for known in reversed(names) if known.startswith(f"{module}.")][:NEAR]
        return [*([module] if module != name else []), *within, *self._around(module)]

    def _around(self, layer: str) -> Iterator[str]:
        while layer := layer.rpartition(".")[0]:
            yield layer

    def _all(self) -> list[str]:
        model = self.backbone.model
        try:
            return [layer.name for layer in response_layers(model, self.image_size)]
        except (ValueError, RuntimeError):
            leaves = [name for name, module in model.named_modules() if name and not any(module.children())]
            return [name for name in leaves if not isinstance(model.get_submodule(name), nn.Dropout | nn.Identity)]

    def _works(self, name: str) -> bool:
        try:
            check_filters(self.method, self._image(), self._responses_of([name]).layers)
        except (ValueError, RuntimeError):
            return False
        return True

    def _responses_of(self, layers: Any) -> FilterResponses:
        return FilterResponses(self.backbone, layers, image_size=self.image_size, **self.others)

    def _image(self) -> Tensor:
        return noise_image(self.backbone.model, self.image_size)
