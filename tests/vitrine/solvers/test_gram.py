"""X Xᵀ in blocks: that of all rows at once, whatever the batches, chunks, blocks and types are."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrine.core.options import OptionError
from vitrine.solvers import MuLassoSums, gram, solve_mu_lasso
from vitrine.solvers.certificate import certify
from vitrine.solvers.gram import PRODUCTS, GramSums, Products, full_products
from vitrine.solvers.least_squares import GramLeastSquares


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks and chunks."""
    monkeypatch.setattr(gram, "BLOCK", 5)
    monkeypatch.setattr(gram, "CHUNK", 7)
    monkeypatch.setattr(gram, "_MOST_MEANS", 3)


def rows(count: int, filters: int, mean: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return mean + torch.randn(count, filters, generator=generator)


def taken(x: Tensor, products: Products, size: int = 4, file: Path | None = None) -> GramSums:
    sums = GramSums(x.shape[1], products=products, file=file)
    for batch in x.split(size):
        sums.update(batch)
    return sums


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("products", PRODUCTS)
def test_blocks_and_chunks_do_not_matter(products: Products, size: int) -> None:
    x = rows(60, 13)
    sums = taken(x, products, size)
    expected = x.double().T @ x.double()
    tolerance = 1e-7 if products == "float32" else 1e-14
    torch.testing.assert_close(sums.total(), expected, rtol=tolerance, atol=0)
    assert torch.equal(sums.total(), sums.total().T)
    sums.update(x[:3])
    torch.testing.assert_close(
        sums.total(), expected + x[:3].double().T @ x[:3].double(), rtol=tolerance, atol=0
    )  # what is read in between changes nothing


def test_rounding_is_a_share_of_the_covariance_and_not_of_the_means() -> None:
    x = rows(4000, 6, mean=1000.0)
    total, wide = taken(x, "float32", 500).total(), x.double()
    mean = wide.mean(dim=0)
    covariance = total - len(x) * mean[:, None] * mean
    expected = (wide - mean).T @ (wide - mean)
    assert (covariance - expected).abs().max() < 1e-6 * expected.diagonal().max()
    plain = (x.T @ x).double() - len(x) * mean[:, None] * mean
    assert (plain - expected).abs().max() > 1e-3 * expected.diagonal().max()


def test_a_file_holds_the_same_sums(tmp_path: Path) -> None:
    x = rows(20, 13)
    in_file, in_memory = (taken(x, "float64", file=file).total() for file in (tmp_path / "gram", None))
    assert torch.equal(in_file, in_memory)
    assert (tmp_path / "gram").stat().st_size == 8 * 13 * 13
    stored = torch.from_file(str(tmp_path / "gram"), size=13 * 13, dtype=torch.float64).view(13, 13)
    assert torch.equal(stored, in_memory)


@pytest.mark.parametrize("products", PRODUCTS)
def test_rows_of_inference_mode_are_taken_in(products: Products) -> None:
    x = rows(20, 5)
    sums = GramSums(5, products=products)
    with torch.inference_mode():
        sums.update(x[:9] + 0)
    sums.update(x[9:])
    torch.testing.assert_close(sums.total(), x.double().T @ x.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("products", PRODUCTS)
def test_blocks_and_waiting_rows_go_on_as_they_were(products: Products) -> None:
    x = rows(40, 13)
    first = taken(x[:17], products)
    assert len(first.pending) == 3
    upper = torch.empty(first.upper_size, dtype=torch.float64)
    pending = first.pending.clone()
    for place, block in first.upper_blocks():
        upper[place] = block.flatten()
    second = GramSums(13, products=products)
    second.load(upper, pending)
    for sums in (first, second):
        sums.update(x[17:])
    assert torch.equal(first.total(), second.total())


def test_float32_is_never_less_than_float32() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with full_products(torch.zeros(1)):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", torch.bfloat16):
        found = taken(rows(20, 13), "float32").total()
    torch.testing.assert_close(found, taken(rows(20, 13), "float64").total(), rtol=1e-6, atol=0)


def test_weights_of_float32_products_are_certified_by_float64_sums() -> None:
    x = rows(200, 40).exp()
    labels = torch.nn.functional.one_hot(torch.arange(200) % 3)
    fast, exact = (MuLassoSums(40, 3, products=products) for products in PRODUCTS)
    for sums in (fast, exact):
        sums.update(x / x.sum(dim=1, keepdim=True), labels)
    found = solve_mu_lasso(fast.gram, fast.cross, fast.label_sq, 5.0)
    problem = GramLeastSquares(exact.gram, exact.cross, exact.label_sq)
    certified = certify(problem, found.weights.numpy(), torch.arange(3).numpy(), found.mu.numpy())
    assert all(certificate.gap <= 1e-6 * certificate.objective for certificate in certified)


def test_another_type_is_refused() -> None:
    with pytest.raises(OptionError, match="float16"):
        GramSums(3, products="float16")  # type: ignore[arg-type]
