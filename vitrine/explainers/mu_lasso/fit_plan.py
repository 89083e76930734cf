"""How an exact fit of the μ-Lasso takes in its samples: as sums or as they are, in how much memory, in about what time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from vitrine.core.memory import amount, free_bytes, readable_size
from vitrine.solvers.gram import BLOCK, CHUNK_BYTES, Products, full_products

WIDE = 4096
"""From as many filters on, responses are multiplied in float32."""
_ROW_BYTES = 16
"""Of each response that is kept as it is: in float32, joined with the others, and in float64."""
_WORKING_BYTES = 1 << 30
_PROBE = 1024


@dataclass(frozen=True)
class FitPlan:
    """What is decided before the pass over the samples.

    Args:
        samples: N, of all ranks together.
        filters: m.
        classes: C.
        ranks: processes that share the samples.
        free: bytes of memory that a rank may take; None where the system does not say.

    Example:
        >>> plan = FitPlan(samples=1_281_167, filters=26_560, classes=1000, ranks=8)
        >>> plan.keeps_sums, plan.products, round(plan.sums_bytes / 1e9, 1)
        (True, 'float32', 7.7)
    """

    samples: int
    filters: int
    classes: int
    ranks: int = 1
    free: int | None = None

    @classmethod
    def here(cls, samples: int, filters: int, classes: int, ranks: int, ranks_here: int) -> "FitPlan":
        """The plan for this machine, whose memory ``ranks_here`` of the ranks share."""
        free = free_bytes(torch.device("cpu"))
        return cls(samples, filters, classes, ranks, None if free is None else free // ranks_here)

    @property
    def sums_bytes(self) -> int:
        """Memory for X Xᵀ, X Lᵀ, the rows that wait for their product, and the solve."""
        sums = 8 * self.filters * (self.filters + 2 * self.classes)
        return sums + min(CHUNK_BYTES + _WORKING_BYTES, 8 * self.filters**2)

    @property
    def rows_bytes(self) -> int:
        """Memory for the responses themselves, which each rank holds of all samples in the end."""
        return _ROW_BYTES * self.samples * self.filters

    @property
    def keeps_sums(self) -> bool:
        """Whether sums are kept: where they are smaller than the responses, or the responses do not fit."""
        do_not_fit = self.free is not None and self.free < self.rows_bytes
        return 2 * self.filters <= self.samples or (do_not_fit and self.sums_bytes < self.rows_bytes)

    @property
    def products(self) -> Products:
        """The type in which responses are multiplied with each other."""
        return "float32" if self.filters >= WIDE else "float64"

    @property
    def needed(self) -> int:
        """Bytes that a rank needs."""
        return self.sums_bytes if self.keeps_sums else self.rows_bytes

    @property
    def operations(self) -> float:
        """Multiplications and additions of a rank for X Xᵀ, of which half is computed."""
        return float(self.samples) * self.filters**2 / self.ranks

    def check(self) -> None:
        """Refuses what does not fit.

        Raises:
            ValueError: where it does not.
        """
        if self.free is not None and self.needed > self.free:
            raise ValueError(
                f"The exact fit of {self.filters} filters needs {readable_size(self.needed)} a rank, and"
                f" {readable_size(self.free)} are free; name fewer layers in model.init_args.mu_lasso.layers, take fewer"
                " ranks a machine, or set model.init_args.training.solver: sgd."
            )

    def rows(self) -> Iterator[tuple[str, str]]:
        """What is told of the plan before the first step."""
        if not self.keeps_sums:
            yield (
                "exact fit",
                f"the responses are kept, up to {readable_size(self.needed)} a rank; solved by the samples",
            )
            return
        rate = product_rate(self.products)
        duration = f"{_duration(self.operations / rate)} on this CPU ({amount(rate)} a second)"
        memory = f"X Xᵀ and X Lᵀ of {self.filters} filters, {readable_size(self.needed)} a rank"
        work = f"{amount(self.operations)} operations in {self.products} a rank, {duration}, beside the network"
        yield "exact fit", f"{memory}; {work}"
        yield "", f"then {self.classes} classes are solved, {-(-self.classes // self.ranks)} on each rank"


def product_rate(products: Products) -> float:
    """Operations a second of a product of two matrices here and now; takes a few hundredths of a second."""
    block = torch.ones(_PROBE, BLOCK, dtype=getattr(torch, products))
    with full_products(block):
        began = time.perf_counter()
        block.T @ block
    return 2.0 * _PROBE * BLOCK**2 / (time.perf_counter() - began)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
