"""Methods that learn a mask over an image by gradient steps."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.base import Method, Unit
from vitrine.attribution.perturbation.perturbations import Score, explained_units, parts, scorer
from vitrine.core.progress import progress_bar


class LearnedMask(Method):
    """A method that learns one mask, or several, for each image and unit: a row each, many rows at once.

    A row's optimum does not depend on the others; ``internal_batch_size`` bounds the rows that are learned at once.
    """

    bounds_itself = True
    explains_probabilities: ClassVar[bool]
    """Whether a class's score is its softmax probability; its logit otherwise."""
    iterations: int
    progress: bool

    @property
    def masks_a_unit(self) -> int:
        """How many masks are learned for each image and unit; the map is their sum."""
        return 1

    @abstractmethod
    def learn(self, images: Tensor, number: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        """Learns the masks of R rows.

        Args:
            images: (R, C, H, W), one a row.
            number: (R,) int64: which of the unit's masks each row is.
            score: takes (R, C, H, W) perturbed images to (R,) scores of the explained units.
            advance: to be called with 1 after each step.

        Returns:
            (R, 1, H, W), what the map is made of.
        """

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        units = explained_units(self, inputs, unit)
        rows = torch.cartesian_prod(*(torch.arange(count) for count in (*units.shape, self.masks_a_unit)))
        image, place, number = rows.to(units.device).unbind(dim=1)
        at_once = parts(len(rows), self.internal_batch_size)
        score_of = scorer(
            self, unit, inputs.device.type, probability=self.explains_probabilities and unit.layer is None
        )
        bar = progress_bar(type(self).__name__, len(at_once) * self.iterations, shown=self.progress)
        with torch.autocast(inputs.device.type, enabled=False), bar as advance:
            masks = [
                self.learn(inputs[image[part]], number[part], score_of(units[image[part], place[part]]), advance)
                for part in at_once
            ]
        return torch.cat(masks).view(*units.shape, self.masks_a_unit, 1, *inputs.shape[2:]).sum(dim=2)
