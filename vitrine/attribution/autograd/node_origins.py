"""Origins of autograd nodes: which operator call of a forward pass made which nodes of the graph."""

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

from vitrine.attribution.autograd.calls import words

LATE_NODES = frozenset({"AliasBackward0", "AsStridedBackward0", "CloneBackward0", "ViewBackward0"})
"""Nodes that copy or view, which autograd also makes outside of any call, for a view whose base was changed in place."""

IDENTITIES = frozenset({"BackwardHookFunctionBackward", "_DDPSinkBackward"})
"""Nodes of Python that pass a gradient on as it is: those of backward hooks on modules, and of distributed wrappers."""


REARRANGING_NODES = words(
    "View UnsafeView Reshape ReshapeAlias Permute Transpose T Squeeze Unsqueeze Expand Slice Select Index IndexSelect Split"
    " SplitWithSizes Unbind Clone ToCopy Roll Flip ConstantPadNd PixelShuffle PixelUnshuffle Repeat Unfold Diagonal"
    " ChannelShuffle NativeChannelShuffle Alias AsStrided"
)
"""Kinds, up to ``Backward``, of the nodes of operators that copy or select the values of one tensor."""


class NodeOrigins:
    """The calls of one forward pass, in order, with the nodes that each of them made.

    Autograd numbers the nodes that a thread makes in order, so that the nodes of a call are an interval. Walks over the
    graph would not do: an in-place operator on a view changes the graph of its base too.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.labels: list[str | None] = []

    def start(self, tensors: Sequence[Tensor]) -> int:
        """The number of the next node; nodes of views that autograd makes late are made before."""
        for tensor in tensors:
            _ = tensor.grad_fn
        return _next_number()

    def add(self, start: int, label: str | None) -> None:
        """Says which call has made the nodes since ``start``.

        Args:
            start: from `start`.
            label: name of the operator if its own gradient is not right, else None.
        """
        end = _next_number()
        if end > start:
            self.starts.append(start)
            self.ends.append(end)
            self.labels.append(label)

    def refused(self, node: Node) -> str | None:
        """The name of the operator that made a node, if its gradient is not right or nothing is known of it; else None."""
        number = node._sequence_nr()  # noqa: SLF001 - the only trace of the order
        index = bisect_right(self.starts, number) - 1
        if index >= 0 and number < self.ends[index]:
            return self.labels[index]
        name = kind(node)
        return None if name in LATE_NODES | IDENTITIES else name


def kind(node: Node) -> str:
    """The kind of a node, such as ``ReluBackward0``."""
    return node.name().rsplit("::", 1)[-1]


def _next_number() -> int:
    return int(torch._C._autograd._get_sequence_nr())  # noqa: SLF001 - the only way to it
