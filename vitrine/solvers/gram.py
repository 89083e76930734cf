"""X Xᵀ of a stream of rows in symmetric blocks: float32 or float64 products, added up in float64."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from vitrine.core.options import checked
from vitrine.core.precision import without_autocast

Products = Literal["float32", "float64"]
"""Type in which rows are multiplied."""
PRODUCTS: tuple[Products, ...] = get_args(Products)

BLOCK = 2048
"""Rows and columns of a block of X Xᵀ."""
CHUNK = 8192
"""Most rows that are multiplied at once: a block is read and written once for as many."""
CHUNK_BYTES = 1 << 29
_SMALLEST_CHUNK = 256
_MOST_MEANS = 128


class GramSums:
    """Σ x xᵀ over rows x, of which only blocks on and above the diagonal are computed.

    Rows are gathered until there is a chunk of them, as a product of few rows takes as long as reading and writing the whole
    sum. In float32, the mean of a chunk is subtracted before its product and put back in float64: responses have means of
    many standard deviations, and rounding then is a share of the covariance. Products are never taken in TF32 or bfloat16.

    Args:
        num_filters: m.
        device: of the sums.
        products: type in which rows are multiplied.
        file: a file that holds the (m, m) sums in place of the memory; it is written anew.

    Raises:
        OptionError: for another type of products.
        OSError: where the disk has too little space for the file.

    Example:
        >>> sums = GramSums(num_filters=3)
        >>> sums.update(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))
        >>> sums.total().tolist()
        [[1.0, 2.0, 0.0], [2.0, 5.0, 1.0], [0.0, 1.0, 1.0]]
    """

    @checked
    def __init__(
        self,
        num_filters: int,
        device: torch.device | str = "cpu",
        products: Products = "float64",
        file: Path | None = None,
    ) -> None:
        self.products = products
        self._sums = (
            torch.zeros(num_filters, num_filters, dtype=torch.float64, device=device)
            if file is None
            else zeros_in_file(file, num_filters)
        )
        self._dtype = torch.float32 if products == "float32" else torch.float64
        self._rows = self._sums.new_zeros(0, num_filters, dtype=self._dtype)
        self._count = 0
        self._means: list[tuple[Tensor, Tensor]] = []
        self._is_symmetric = True

    @property
    def pending(self) -> Tensor:
        """(n, m) rows that are not in the sums yet."""
        return self._rows[: self._count]

    def update(self, x: Tensor) -> None:
        """Takes in (B, m) rows."""
        while len(x):
            room = self._room(len(x))
            self._rows[self._count : self._count + room] = x[:room]
            self._count += room
            x = x[room:]
            if self._count == self._chunk:
                self.flush()

    def flush(self) -> None:
        """Multiplies the rows that wait for it."""
        rows, self._count = self.pending, 0
        if not len(rows):
            return
        self._is_symmetric = False
        if self._dtype == torch.float32:
            mean = rows.mean(dim=0)
            rows -= mean  # in place: they are not needed any more
            around = rows.sum(dim=0, dtype=torch.float64)
            mean = mean.double()
            self._means.append((mean, around + len(rows) / 2 * mean))
        with full_products(rows):
            self._add_products(rows)
        if len(self._means) == _MOST_MEANS:
            self._put_back_means()

    def total(self) -> Tensor:
        """(m, m) Σ x xᵀ of all rows so far; it is valid until the next one."""
        self.flush()
        self._put_back_means()
        if not self._is_symmetric:
            self._mirror()
        return self._sums

    def _mirror(self) -> None:
        """Copies the blocks above the diagonal to those below it."""
        for rows, columns in blocks(len(self._sums)):
            if rows != columns:
                self._sums[columns, rows] = self._sums[rows, columns].T
        self._is_symmetric = True

    def scale_(self, shift: Tensor, half: Tensor, factor: Tensor) -> None:
        """Makes them Σ (x − shift)(x − shift)ᵀ · factor factorᵀ of all rows so far; ``half`` is Σ x − n/2 shift."""
        sums = self.total()
        self._rows = self._rows[:0].clone()
        for rows, columns in blocks(len(sums)):
            block = sums[rows, columns]
            block.addr_(shift[rows], half[columns], alpha=-1).addr_(half[rows], shift[columns], alpha=-1)
            block.mul_(factor[rows, None]).mul_(factor[columns])
        self._mirror()

    @property
    def upper_size(self) -> int:
        """Numbers in the blocks on and above the diagonal."""
        return sum(_height(rows) * _height(columns) for rows, columns in blocks(len(self._sums)))

    def upper_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """The blocks on and above the diagonal without the rows that wait, and the place of each among the numbers of all."""
        self._put_back_means()
        start = 0
        for rows, columns in blocks(len(self._sums)):
            block = self._sums[rows, columns]
            yield slice(start, start + block.numel()), block
            start += block.numel()

    def load(self, upper: Tensor, pending: Tensor | None = None) -> None:
        """Goes on from the numbers of all blocks, and rows that wait."""
        for place, block in self.upper_blocks():
            block.copy_(upper[place].view(block.shape))
        self._is_symmetric, self._count = False, 0
        if pending is not None:
            self.update(pending.to(self._sums.device))

    def take(self, sums: Tensor) -> None:
        """Goes on from an (m, m) Σ x xᵀ."""
        self._sums.copy_(sums)
        self._is_symmetric = True

    def replace_upper(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replaces the blocks on and above the diagonal, and mirrors them."""
        self.flush()
        for _, block in self.upper_blocks():
            block.copy_(change(block.contiguous()))
        self._mirror()

    @property
    def _chunk(self) -> int:
        fitting = CHUNK_BYTES // (len(self._sums) * self._dtype.itemsize)
        return min(CHUNK, max(fitting, _SMALLEST_CHUNK))

    def _room(self, wanted: int) -> int:
        """How many rows can be gathered now; room is made for up to a chunk of them."""
        needed = min(self._count + wanted, self._chunk)
        if needed > len(self._rows):
            with torch.inference_mode(mode=False):  # it is written to in place outside of inference mode, too
                grown = self._rows.new_empty(min(max(needed, 2 * len(self._rows)), self._chunk), self._rows.shape[1])
            grown[: self._count] = self.pending
            self._rows = grown
        return needed - self._count

    def _add_products(self, x: Tensor) -> None:
        scratch = x.new_empty(BLOCK * BLOCK)
        for rows, columns in blocks(len(self._sums)):
            block = self._sums[rows, columns]
            product = scratch[: block.numel()].view(block.shape)
            block += torch.mm(x[:, rows].T, x[:, columns], out=product)

    def _put_back_means(self) -> None:
        """Σ x xᵀ = Σ (x − a)(x − a)ᵀ + a bᵀ + b aᵀ with b = Σ (x − a) + n/2 a, for each chunk of n rows of mean a."""
        if not self._means:
            return
        a, b = (torch.stack(column) for column in zip(*self._means, strict=True))
        self._means = []
        left, right = torch.cat([a, b]), torch.cat([b, a])
        for rows, columns in blocks(len(self._sums)):
            self._sums[rows, columns].addmm_(left[:, rows].T, right[:, columns])


def blocks(size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the blocks on and above the diagonal of a square matrix."""
    starts = range(0, size, BLOCK)
    for row in starts:
        for column in range(row, size, BLOCK):
            yield slice(row, min(row + BLOCK, size)), slice(column, min(column + BLOCK, size))


def _height(rows: slice) -> int:
    return int(rows.stop - rows.start)


def zeros_in_file(path: Path, size: int) -> Tensor:
    """(size, size) float64 zeros in a file, whose space on the disk is taken at once: a full disk would end the process."""
    count = size * size
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 8 * count)
    return torch.from_file(str(path), shared=True, size=count, dtype=torch.float64).view(size, size)


@contextmanager
def full_products(tensor: Tensor) -> Iterator[None]:
    """Within it, products of float32 matrices are neither autocast nor taken in TF32 or bfloat16."""
    if tensor.dtype == torch.float64:  # which nothing rounds
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with without_autocast(tensor):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
