"""UntrainedModule: the base of modules that test and apply explainers without a fit."""

from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from lightning_modules.base import ExplainerModule
from vitrine.core.batch import Batch


class UntrainedModule(ExplainerModule):
    """Tests and applies what needs no training, without a checkpoint; a fit is refused.

    Args:
        args: those of `ExplainerModule`.
        kwargs: those of `ExplainerModule`.
    """

    untrained: ClassVar[str] = "This module"
    """What needs no training, as the refusal of a fit calls it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.needs_checkpoint = self.is_fitted = False

    @override
    def setup(self, stage: str) -> None:
        """Also refuses a fit of nothing.

        Raises:
            ValueError: for ``fit``.
        """
        if stage == "fit":
            raise ValueError(
                f"{self.untrained} needs no training, so that there is nothing to fit; run train.py test or train.py"
                " predict."
            )
        super().setup(stage)

    @property
    @override
    def needs_labels(self) -> bool:
        return False

    def training_step(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Never called: Lightning looks for it before `setup` can say that there is nothing to fit."""
        return None

    @property
    @override
    def explains_in_validation(self) -> bool:
        return True  # so that what does not work shows before a test

    def validation_step(self, batch: Batch) -> None:
        """Images are explained after it."""
