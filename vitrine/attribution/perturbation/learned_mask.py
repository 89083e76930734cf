"""Learned masks: the base class of methods that optimise a mask over each image by gradient descent."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.base import Method, batch_slices
from vitrine.attribution.perturbation.scores import Score, make_scorer
from vitrine.attribution.targets import Target
from vitrine.core.progress import progress_bar


class LearnedMask(Method):
    """A method that learns masks for each image and target, one a row, many rows at once.

    The optimum of a row does not depend on other rows; ``internal_batch_size`` bounds the rows that are learned at once.
    """

    handles_batch_size = True
    takes_torchscript = True
    slow = True
    explains_probabilities: ClassVar[bool]
    """Whether the score of a class is its probability; otherwise its logit."""
    multi_label: bool = False
    """Whether each logit has a probability of its own, of methods that have probabilities as scores."""
    iterations: int
    progress: bool

    @property
    def masks_per_target(self) -> int:
        """The number of masks that are learned for each image and target; the map is their sum."""
        return 1

    @abstractmethod
    def learn(self, images: Tensor, mask_numbers: Tensor, score: Score, advance: Callable[[int], None]) -> Tensor:
        """Learns the masks of R rows.

        Args:
            images: (R, C, H, W).
            mask_numbers: (R,) int64: which of the ``masks_per_target`` masks each row is.
            score: maps (R, C, H, W) perturbed images to the (R,) scores of their targets.
            advance: to be called with 1 after each step, for the progress bar.

        Returns:
            (R, 1, H, W), the terms of the maps.
        """

    def _with_gradient(self, score: Score, target: Target) -> Score:
        """The score; ValueError where a mask cannot be learned from it, as no gradient leads back."""

        def checked_score(images: Tensor) -> Tensor:
            scores = score(images)
            if torch.is_grad_enabled() and images.requires_grad:
                check_gradient(scores, images, self.model, layer=target.layer)
            return scores

        return checked_score

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        indices = self.target_indices(inputs, target)
        rows = torch.cartesian_prod(*(torch.arange(count) for count in (*indices.shape, self.masks_per_target)))
        image, k, mask_numbers = rows.to(indices.device).unbind(dim=1)
        batches = batch_slices(len(rows), self.internal_batch_size)
        probability = self.explains_probabilities and target.layer is None
        score_at = make_scorer(self, target, inputs.device.type, probability=probability, multi_label=self.multi_label)
        bar = progress_bar(type(self).__name__, len(batches) * self.iterations, shown=self.progress)
        with differentiating(self.model), torch.autocast(inputs.device.type, enabled=False), bar as advance:
            masks = [
                self.learn(
                    inputs[image[batch]],
                    mask_numbers[batch],
                    self._with_gradient(score_at(indices[image[batch], k[batch]]), target),
                    advance,
                )
                for batch in batches
            ]
        return torch.cat(masks).view(*indices.shape, self.masks_per_target, 1, *inputs.shape[2:]).sum(dim=2)
