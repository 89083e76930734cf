"""Receptive fields of small networks, by closed forms and by gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vitrine.attribution.receptive_field.receptive_field import ReceptiveFields, receptive_field

Box = tuple[int, int, int, int]
SeenBoxes = Callable[..., list[Box]]
Positive = Callable[[nn.Module], nn.Module]


class Net(nn.Module):
    """A body, and logits that are the means of its channels."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.body(image)
        return output.flatten(2).mean(dim=2) if output.ndim > 2 else output


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Sum(nn.Module):
    """Several ways whose results are added."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([way(x) for way in self.ways]).sum(dim=0)


class Join(Sum):
    """Several ways whose results are joined along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], dim=1)


def same(inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def through(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """The function, and a convolution that says which dimension the channels of its result are."""
    return nn.Sequential(Apply(function), nn.Conv2d(2, 2, 1))


def everywhere(fields: ReceptiveFields) -> list[tuple[int, int]]:
    assert fields.map_size
    return [(row, column) for row in range(fields.map_size[0]) for column in range(fields.map_size[1])]


def assert_seen(model: nn.Module, size: tuple[int, ...], seen_boxes: SeenBoxes, positive: Positive) -> None:
    """The field of every unit is the box around the pixels that a gradient of it arrives at."""
    model = positive(model)
    fields = ReceptiveFields(model, "body", size)
    units = everywhere(fields)
    assert [fields.of(unit) for unit in units] == seen_boxes(model, "body", units, size)


def field_and_jump(stages: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The recursion over (kernel, stride, padding): the size of a field, the step between two, the start of the first."""
    size, step, start = 1, 1, 0
    for kernel, stride, padding in stages:
        size, start, step = size + (kernel - 1) * step, start - padding * step, step * stride
    return size, step, start


STAGES = [
    [(3, 1, 1)],
    [(7, 2, 3), (3, 2, 1), (3, 1, 1), (3, 1, 1)],
    [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0)],
    [(4, 3, 1), (2, 2, 1), (1, 1, 0), (5, 1, 0)],
]


@pytest.mark.parametrize("stages", STAGES)
def test_recursion_of_kernels_strides_and_paddings(stages: list[tuple[int, int, int]]) -> None:
    layers = [nn.Conv2d(3 if index == 0 else 2, 2, *stage) for index, stage in enumerate(stages)]
    fields = ReceptiveFields(Net(*layers), "body", (3, 71, 90))
    size, step, start = field_and_jump(stages)
    for row, column in everywhere(fields):
        x0, y0 = start + column * step, start + row * step
        assert fields.of((row, column), clip=False) == (x0, y0, x0 + size, y0 + size)
        found = fields.of((row, column))
        assert found[:2] == (max(x0, 0), max(y0, 0))
        # A pooling that does not go up at the end leaves out what its last window does not reach.
        assert 90 - step <= found[2] <= 90 if x0 + size > 90 else found[2] == x0 + size
        assert 71 - step <= found[3] <= 71 if y0 + size > 71 else found[3] == y0 + size


class Resize(nn.Module):
    """Antialiased interpolation."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, antialias=True, **self.options)


NETS: list[tuple[str, Callable[[], nn.Module], tuple[int, int, int]]] = [
    ("odd kernels", lambda: same(2, 3, 5), (2, 9, 12)),
    ("even kernels", lambda: nn.Conv2d(2, 3, (2, 4), padding=(1, 0)), (2, 9, 12)),
    ("even kernels of one size", lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 9, 12)),
    ("unequal strides", lambda: nn.Conv2d(2, 3, (3, 5), stride=(1, 3), padding=(2, 1)), (2, 10, 17)),
    ("stride beyond the kernel", lambda: nn.Conv2d(2, 3, 2, stride=4, padding=3), (2, 12, 15)),
    ("dilation", lambda: nn.Conv2d(2, 3, 3, padding=(4, 2), dilation=(4, 3)), (2, 11, 13)),
    ("padding wider than the kernel", lambda: nn.Conv2d(2, 3, 2, padding=4), (2, 5, 6)),
    ("reflection", lambda: same(2, 3, 7, padding_mode="reflect"), (2, 9, 12)),
    ("replication", lambda: same(2, 3, 7, padding_mode="replicate"), (2, 9, 12)),
    ("circular padding", lambda: same(2, 3, 5, padding_mode="circular"), (2, 9, 12)),
    ("circular padding and cropping", lambda: Apply(lambda x: F.pad(x, (-1, 2, 3, -2), mode="circular")), (2, 9, 12)),
    ("rolled twice", lambda: Apply(lambda x: x.roll((1, 2), (2, 2))), (2, 7, 8)),
    ("uneven padding", lambda: nn.Sequential(nn.ZeroPad2d((2, 0, 1, 3)), nn.Conv2d(2, 3, 3)), (2, 9, 12)),
    ("cropping", lambda: nn.Sequential(nn.ZeroPad2d(-2), nn.Conv2d(2, 3, 3, padding=1)), (2, 9, 12)),
    ("ceil mode", lambda: nn.MaxPool2d(3, 2, ceil_mode=True), (2, 8, 10)),
    ("dilated pooling", lambda: nn.MaxPool2d((2, 3), (2, 1), dilation=(3, 2)), (2, 11, 12)),
    ("average pooling", lambda: nn.AvgPool2d((2, 3), padding=(1, 1), ceil_mode=True), (2, 8, 10)),
    ("p-norm pooling", lambda: nn.LPPool2d(2, (2, 3)), (2, 8, 10)),
    ("adaptive average", lambda: nn.AdaptiveAvgPool2d((3, 4)), (2, 8, 10)),
    ("adaptive average, enlarging", lambda: nn.AdaptiveAvgPool2d(7), (2, 5, 3)),
    ("transposed", lambda: nn.ConvTranspose2d(2, 3, (3, 4), stride=(2, 3), padding=1, output_padding=1), (2, 4, 5)),
    ("dilated transposed", lambda: nn.ConvTranspose2d(2, 3, 2, stride=3, dilation=2), (2, 4, 5)),
    ("nearest", lambda: nn.Upsample(scale_factor=(2, 1.5)), (2, 4, 6)),
    ("bilinear", lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 4, 6)),
    ("bilinear to a size", lambda: nn.Upsample((7, 5), mode="bilinear", align_corners=True), (2, 4, 9)),
    *[
        (f"antialiased {mode} {options}", lambda mode=mode, options=options: Resize(mode=mode, **options), (2, 13, 10))
        for mode in ("bilinear", "bicubic")
        for options in (
            {"size": (4, 7)},
            {"size": (4, 1)},
            {"size": (26, 16)},
            {"scale_factor": (0.5, 0.3)},
            {"scale_factor": 0.52, "recompute_scale_factor": True},
            {"size": (6, 4), "align_corners": True},
            {"scale_factor": 0.4, "align_corners": True},
        )
    ],
    ("antialiased nearly to its size", lambda: Resize(mode="bilinear", scale_factor=1.02), (2, 13, 10)),
    ("pixel shuffle", lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2)), (2, 4, 6)),
    ("pixel unshuffle", lambda: nn.Sequential(nn.Conv2d(2, 1, 2), nn.PixelUnshuffle(2)), (2, 5, 7)),
    ("grouped", lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 4, 2, groups=4)), (2, 7, 8)),
    ("residual", lambda: Sum(same(2, 2, 5), nn.Identity()), (2, 7, 8)),
    ("branches", lambda: Sum(same(2, 2, 5), Apply(lambda x: x.roll((1, -2), (2, 3)))), (2, 7, 8)),
    ("joined", lambda: nn.Sequential(Join(same(2, 2, 5), same(2, 1, 1)), nn.Conv2d(3, 2, 2)), (2, 7, 8)),
    ("gate", lambda: Apply(lambda x: x * x.mean(dim=(2, 3), keepdim=True).sigmoid()), (2, 7, 8)),
    ("maximum over rows", lambda: Apply(lambda x: x.sum(dim=2, keepdim=True) * x), (2, 7, 8)),
    ("softmax over columns", lambda: Apply(lambda x: x.softmax(dim=-1)), (2, 7, 8)),
    ("group norm", lambda: nn.GroupNorm(2, 4), (4, 5, 6)),
    ("instance norm", lambda: nn.InstanceNorm2d(4), (4, 5, 6)),
    ("norm with the batch's statistics", lambda: nn.BatchNorm2d(4, track_running_stats=False), (4, 5, 6)),
    ("local response norm", lambda: nn.Sequential(same(2, 4, 3), nn.LocalResponseNorm(3)), (2, 5, 6)),
    ("halves", lambda: through(lambda x: x.chunk(2, dim=2)[1]), (2, 8, 9)),
    ("uneven parts", lambda: through(lambda x: x.split([2, 5, 2], dim=-1)[1]), (2, 8, 9)),
    ("columns apart and together", lambda: through(lambda x: torch.stack(x.unbind(3)[2:8], dim=-1)), (2, 8, 9)),
    ("one row", lambda: Apply(lambda x: x + x[:, :, -3, None]), (2, 8, 9)),
    ("repeated columns", lambda: through(lambda x: x.repeat(1, 1, 1, 2)), (2, 5, 6)),
    ("slices", lambda: Apply(lambda x: x[:, 1:, 1:-1:2, -5:]), (3, 8, 9)),
    ("shuffled channels", lambda: Apply(lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)), (4, 5, 6)),
    ("transposed sides", lambda: Apply(lambda x: x.transpose(2, -1)), (2, 5, 5)),
    (
        "windows",
        lambda: Apply(lambda x: x.reshape(1, 2, 3, 2, 4, 2).permute(0, 1, 2, -2, 3, 5).sum(dim=(-1, 4))),
        (2, 6, 8),
    ),
    ("matrix behind rows", lambda: Apply(lambda x: x @ torch.ones(6, 6, dtype=x.dtype)), (2, 5, 6)),
    ("matrix product", lambda: Apply(lambda x: x @ x.transpose(2, 3)), (2, 5, 6)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("layer", "size"), [net[1:] for net in NETS], ids=[net[0] for net in NETS])
def test_every_operator_alone(
    layer: Callable[[], nn.Module], size: tuple[int, ...], seen_boxes: SeenBoxes, positive: Positive
) -> None:
    torch.manual_seed(0)
    assert_seen(Net(layer()), size, seen_boxes, positive)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("layer", "size"), [net[1:] for net in NETS], ids=[net[0] for net in NETS])
def test_every_operator_between_convolutions(
    layer: Callable[[], nn.Module], size: tuple[int, ...], seen_boxes: SeenBoxes, positive: Positive
) -> None:
    torch.manual_seed(0)
    middle = layer()
    width = middle(torch.rand(1, *size)).shape[1]
    net = Net(nn.Conv2d(2, size[0], 3, stride=(2, 1), padding=1), nn.ReLU(), middle, nn.Conv2d(width, 2, 3, padding=1))
    assert_seen(net, (2, 2 * size[1], size[2]), seen_boxes, positive)


@st.composite
def window(draw: st.DrawFn) -> dict[str, tuple[int, int]]:
    """Kernel size, stride and padding, each of the height and of the width."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(*(st.integers(0, size // 2) for size in kernel)))
    return {"kernel_size": kernel, "stride": draw(st.tuples(*[st.integers(1, 3)] * 2)), "padding": padding}


dilation = st.tuples(st.integers(1, 2), st.integers(1, 2))
STAGES_OF_TWO_CHANNELS: list[st.SearchStrategy[nn.Module]] = [
    st.builds(lambda window, dilation: nn.Conv2d(2, 2, dilation=dilation, **window), window(), dilation),
    st.builds(lambda window, dilation: nn.Conv2d(2, 2, dilation=dilation, groups=2, **window), window(), dilation),
    st.builds(
        lambda window, mode: nn.Conv2d(2, 2, padding_mode=mode, **window),
        window(),
        st.sampled_from(["reflect", "replicate", "circular"]),
    ),
    st.builds(
        lambda window, dilation, ceil: nn.MaxPool2d(dilation=dilation, ceil_mode=ceil, **window),
        window(),
        dilation,
        st.booleans(),
    ),
    st.builds(lambda window, ceil: nn.AvgPool2d(ceil_mode=ceil, **window), window(), st.booleans()),
    st.builds(lambda rows, columns: nn.AdaptiveAvgPool2d((rows, columns)), st.integers(1, 4), st.integers(1, 4)),
    st.builds(lambda: Sum(nn.Sequential(same(2, 2, 3), nn.ReLU(), same(2, 2, 1)), nn.Identity())),
    st.builds(lambda: Join(same(2, 1, 3), same(2, 1, 1))),
]


@st.composite
def stack(draw: st.DrawFn) -> tuple[list[nn.Module], tuple[int, int, int]]:
    """Up to five layers that fit an image of its size."""
    size = (2, draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    layers: list[nn.Module] = []
    x = torch.zeros(1, *size)
    for layer in draw(st.lists(st.one_of(STAGES_OF_TWO_CHANNELS), min_size=1, max_size=5)):
        try:
            x = layer(x)
        except RuntimeError:  # larger than what there is
            continue
        layers.append(layer)
    return [*layers, nn.Conv2d(2, 1, 1)], size


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(stack())
def test_random_stacks(
    seen_boxes: SeenBoxes, positive: Positive, given_stack: tuple[list[nn.Module], tuple[int, int, int]]
) -> None:
    layers, size = given_stack
    net = positive(Net(*layers))
    name = f"body.{len(layers) - 1}"
    fields = ReceptiveFields(net, name, size)
    units = everywhere(fields)
    found, seen = [fields.of(unit) for unit in units], seen_boxes(net, name, units, size)
    pairs = [(early, late) for index, late in enumerate(layers) for early in layers[:index]]
    if not any(minds_gaps(early) and makes_gaps(late) for early, late in pairs):
        assert found == seen
    else:  # see test_gaps_are_in_the_box
        assert all(inside(one, other) for one, other in zip(seen, found, strict=True))


def is_dilated(layer: Any) -> bool:
    return getattr(layer, "dilation", (1, 1)) != (1, 1)


def makes_gaps(layer: Any) -> bool:
    """Whether what a box of outputs needs may be less than a box."""
    strides, kernels = getattr(layer, "stride", (1, 1)), getattr(layer, "kernel_size", (1, 1))
    skips = any(stride > kernel for stride, kernel in zip(strides, kernels, strict=True))
    return is_dilated(layer) or skips or getattr(layer, "padding_mode", "zeros") == "circular"


def minds_gaps(layer: Any) -> bool:
    """Whether outputs in the middle of a box may need what is beyond those at its ends."""
    return is_dilated(layer) or getattr(layer, "padding_mode", "zeros") in {"circular", "reflect"}


def inside(one: Box, other: Box) -> bool:
    return one == (0, 0, 0, 0) or (
        other[0] <= one[0] and other[1] <= one[1] and one[2] <= other[2] and one[3] <= other[3]
    )


def test_gaps_are_in_the_box(seen_boxes: SeenBoxes, positive: Positive) -> None:
    # The taps −1 and 1 are both pixel 1 by reflection. The box around them holds tap 0 as well.
    net = positive(Net(nn.Conv2d(1, 1, (2, 1), padding=(1, 0), dilation=(2, 1), padding_mode="reflect")))
    assert seen_boxes(net, "body.0", [(0, 0)], (1, 2, 1)) == [(0, 1, 1, 2)]
    assert receptive_field(net, "body.0", (0, 0), (1, 2, 1)) == (0, 0, 1, 2)


def test_channels_that_go_separate_ways(seen_boxes: SeenBoxes, positive: Positive) -> None:
    net = positive(
        Net(nn.Conv2d(4, 4, 3, padding=1, groups=4), Join(same(4, 1, 1), same(4, 2, 5)), nn.ChannelShuffle(3))
    )
    fields = ReceptiveFields(net, "body", (4, 9, 8))
    units = [(4, 4, channel) for channel in range(3)]
    assert [fields.of((4, 4), channel) for _, _, channel in units] == seen_boxes(net, "body", units, (4, 9, 8))
    assert fields.of((4, 4), 0) == (3, 3, 6, 6)
    assert fields.of((4, 4)) == fields.of((4, 4), 1) == (1, 1, 8, 8)


def test_channels_last(seen_boxes: SeenBoxes, positive: Positive) -> None:
    body = (same(2, 5, 3), Apply(lambda x: x.permute(0, 2, 3, 1)), nn.LayerNorm(5), nn.Linear(5, 4), nn.GELU())
    net = positive(Net(*body))
    for layer in ("body.2", "body.3", "body.4", "body"):
        fields = ReceptiveFields(net, layer, (2, 7, 9))
        assert fields.map_size == (7, 9)
        units = everywhere(fields)
        assert [fields.of(unit) for unit in units] == seen_boxes(net, layer, units, (2, 7, 9), channel_axis=3)


class Constant(nn.Module):
    """An operator of the user's own, which reads the first pixel alone."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = Relu.apply(x)
        return result


class Relu(torch.autograd.Function):
    """Not a ReLU, whatever it is called: every place of its result reads the first one."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x[:, :, :1, :1].expand_as(x).clone()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = torch.zeros_like(gradients[0])
        gradient[:, :, 0, 0] = gradients[0].sum(dim=(2, 3))
        return gradient


UNKNOWN: list[tuple[str, Callable[[], nn.Module]]] = [
    ("an operator of the user's", Constant),
    ("a roll of the flattened image", lambda: Apply(lambda x: x.roll(3))),
    ("sorting", lambda: Apply(lambda x: x.sort(dim=2).values)),
    ("a sum up to each place", lambda: Apply(lambda x: x.cumsum(dim=3))),
    ("a flip", lambda: Apply(lambda x: x.flip(2, 3))),
    ("writing into a slice", lambda: Apply(written)),
    (
        "weights made from the image",
        lambda: Apply(lambda x: F.conv2d(x, x.mean(dim=(2, 3)).expand(2, 2)[..., None, None])),
    ),
    (
        "the image as weights",
        lambda: Apply(lambda x: F.conv2d(torch.ones_like(x), x.transpose(0, 1), padding=4, groups=2)),
    ),
    ("a Fourier transform", lambda: Apply(lambda x: torch.fft.fft2(x).abs())),
]


def written(x: Tensor) -> Tensor:
    output = torch.zeros(*x.shape[:2], x.shape[2] + 2, x.shape[3], dtype=x.dtype)
    output[:, :, 2:] = x
    return output


@pytest.mark.parametrize("layer", [layer for _, layer in UNKNOWN], ids=[name for name, _ in UNKNOWN])
def test_an_unknown_operator_sees_all(
    layer: Callable[[], nn.Module], seen_boxes: SeenBoxes, positive: Positive
) -> None:
    net = positive(Net(same(2, 2, 3), layer(), same(2, 2, 3)))
    fields = ReceptiveFields(net, "body", (2, 9, 8))
    for clip in (True, False):
        assert fields.of((4, 4), clip=clip) == (0, 0, 8, 9)
    assert ReceptiveFields(net, "body.0", (2, 9, 8)).of((4, 4)) == (3, 3, 6, 6)


def test_beyond_the_image() -> None:
    net = Net(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1))
    fields = ReceptiveFields(net, "body", (3, 20, 30))
    boxes = [fields.of(unit, clip=False) for unit in everywhere(fields)]
    assert {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes} == {(10, 10)}
    assert fields.of((0, 0), clip=False) == (-4, -4, 6, 6)
    assert fields.of((0, 0)) == (0, 0, 6, 6)
    assert fields.of((9, 14), clip=False) == (24, 14, 34, 24)
    assert fields.of((9, 14)) == (24, 14, 30, 20)


def test_what_sees_all_places_is_the_whole_image() -> None:
    gate = Apply(lambda x: x * x.mean(dim=(2, 3), keepdim=True))
    net = Net(same(3, 4, 3), gate, same(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    for layer, location in (("body.1", (0, 0)), ("body.2", (3, 3)), ("body.3", (0, 0)), ("body.5", None)):
        assert receptive_field(net, layer, location, (3, 12, 14), clip=False) == (0, 0, 14, 12)
        assert receptive_field(net, layer, location, (3, 12, 14)) == (0, 0, 14, 12)


def test_padding_alone_is_seen() -> None:
    assert receptive_field(Net(nn.Conv2d(1, 1, 2, padding=4)), "body.0", (0, 0), (1, 5, 6)) == (0, 0, 0, 0)


def test_a_layer_that_runs_twice_counts_by_its_last_output() -> None:
    convolution = nn.Conv2d(3, 3, 3, padding=1)
    assert receptive_field(Net(convolution, nn.ReLU(), convolution), "body.0", (5, 5), (3, 11, 11)) == (3, 3, 8, 8)


def test_the_batch_of_the_shape_does_not_count() -> None:
    net = Net(same(3, 4, 3))
    assert receptive_field(net, "body", (2, 5), (8, 3, 9, 9)) == receptive_field(net, net.body, (2, 5), (3, 9, 9))


def test_the_model_is_left_as_it_was() -> None:
    net = Net(same(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(inplace=True)).train()
    weight = net.get_parameter("body.0.weight")
    weight.grad = torch.ones_like(weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        receptive_field(net, "body", (2, 2), (3, 8, 8))
    with pytest.raises(ValueError, match="outside"):
        receptive_field(net, "body", (8, 2), (3, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_errors_name_what_is_wrong() -> None:
    net = Net(same(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"no layer 'bodi.0'; near names: body"):
        receptive_field(net, "bodi.0", (0, 0), (3, 8, 8))
    with pytest.raises(
        ValueError, match=r"Location \(8, 0\) is outside of the map of layer 'body.0', which has \(8, 9\)"
    ):
        receptive_field(net, "body.0", (8, 0), (3, 8, 9))
    with pytest.raises(ValueError, match=r"Layer 'body.3' has no spatial map; give location=None"):
        receptive_field(net, "body.3", (0, 0), (3, 8, 8))
    with pytest.raises(ValueError, match=r"Layer 'body.0' has a map of \(8, 8\); give \(row, column\)"):
        receptive_field(net, "body.0", None, (3, 8, 8))
    with pytest.raises(ValueError, match=r"channel 4 is out of range: layer 'body.0' has channels 0 to 3"):
        receptive_field(net, "body.0", (0, 0), (3, 8, 8), channel=4)
    with pytest.raises(ValueError, match=r"input_shape must be \(C, H, W\)"):
        receptive_field(net, "body.0", (0, 0), (8, 8))
    net.unused = nn.Conv2d(3, 4, 1)
    with pytest.raises(ValueError, match="'unused' gives no tensor"):
        receptive_field(net, "unused", (0, 0), (3, 8, 8))
