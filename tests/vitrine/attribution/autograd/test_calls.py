"""Operator calls: one name for all spellings of an operator, its arguments, and which tensors depend on the input."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitrine.attribution.autograd.calls import Call, carries, is_half, tensors_in


class Recorder(TorchFunctionMode):
    """Keeps the calls that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(Call(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def call_of(run: Callable[[Tensor], Any]) -> Call:
    x = torch.ones(2, 3)
    with Recorder() as recorder:
        run(x)
    return recorder.calls[0]


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (F.relu, "relu"),
        (torch.relu, "relu"),
        (torch.relu_, "relu"),
        (lambda x: x.relu_(), "relu"),
        (torch.nn.ReLU(), "relu"),
        (lambda x: x + 1, "add"),
        (lambda x: 1 + x, "add"),
        (lambda x: x.add_(1), "add"),
        (lambda x: x.__iadd__(1), "add"),
        (lambda x: x / 2, "div"),
        (lambda x: torch.true_divide(x, 2), "div"),
        (lambda x: torch.concat([x, x]), "cat"),
        (lambda x: x.T, "T"),
        (lambda x: torch.multiply(x, 2), "mul"),
        (lambda x: -x, "neg"),
        (torch.ops.aten.relu.default, "relu"),
        (torch.ops.aten.relu_, "relu"),
    ],
)
def test_all_spellings_of_an_operator_have_one_name(run: Callable[[Tensor], Any], name: str) -> None:
    assert call_of(run).name == name


def test_arguments_by_position_or_name() -> None:
    x = torch.tensor([-1.0, 2])
    by_position, by_name = Call(torch.clamp, (x, 0.5), {}), Call(torch.clamp, (), {"input": x, "min": 0.5})
    for call in (by_position, by_name):
        assert call.operand is x
        assert call.argument(1, "min") == 0.5
        assert call.argument(2, "max", "absent") == "absent"
        assert call().tolist() == [0.5, 2]
        assert call.on(torch.tensor([3.0])).tolist() == [3]
    assert by_position.full_name == "torch.clamp"


IN_PLACE: dict[str, Callable[[Tensor], Any]] = {
    "relu_": lambda x: x.relu_(),
    "torch.relu_": torch.relu_,
    "aten": torch.ops.aten.relu_.default,
    "+=": lambda x: x.__iadd__(1),
    "setitem": lambda x: x.__setitem__(0, 1),
    "inplace": lambda x: F.relu(x, inplace=True),
    "inplace by position": lambda x: F.hardtanh(x, 0.0, 6.0, True),  # noqa: FBT003 - what is tested
    "out": lambda x: torch.mul(x, 2, out=x),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_tensor_that_is_written_to(name: str) -> None:
    with Recorder() as recorder:
        IN_PLACE[name](torch.ones(2, 3))
    call = recorder.calls[-1]
    assert call.written is call.operand
    before = call.operand.clone()
    if name != "setitem":
        call.out_of_place()()
        assert torch.equal(call.operand, before)


@pytest.mark.parametrize(
    "run", [F.relu, lambda x: F.relu(x, inplace=False), lambda x: x + 1, lambda x: x.is_floating_point()]
)
def test_a_call_that_writes_to_nothing(run: Callable[[Tensor], Any]) -> None:
    assert call_of(run).written is None


def test_what_depends_on_the_input_carries() -> None:
    parameter = torch.ones(2, requires_grad=True)
    dependent = parameter * 2
    assert not carries(parameter)
    assert not carries(torch.ones(2))
    assert not carries(3)
    assert carries(dependent)
    assert Call(torch.cat, ([parameter, dependent],), {}).carriers() == [dependent]


def test_tensors_are_found_in_nests() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    assert [len(tensor) for tensor in tensors_in(([one, 3], {"a": (two, "b"), "c": three}))] == [1, 2, 3]


def test_a_call_is_widened_where_it_is_half() -> None:
    half, whole = torch.ones(2, dtype=torch.bfloat16), torch.ones(2)
    assert is_half(half)
    assert not is_half(whole)
    call = Call(torch.add, (half, whole), {"alpha": 2})
    assert call.widened().args[0].dtype == torch.float32
    assert call.widened()().tolist() == [3, 3]
    plain = Call(torch.add, (whole, whole), {})
    assert plain.widened() is plain
    assert Call(torch.cat, ([half, half],), {}).widened()().dtype == torch.float32
