"""Token flow of a transformer: which rows of which attention each token goes through, read off VJPs of one traced pass."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from vitrine.attribution.attention.capture import Attention, AttentionTrace
from vitrine.attribution.autograd.backward import ForwardTrace, Visit, forward_trace, noise
from vitrine.attribution.autograd.interception import walk
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.layouts import TokenGrid, grid_of_tokens, is_tokens
from vitrine.attribution.token_places import exact_places

NOWHERE, PATCHES = -2, -1
"""Instead of the number of an attention: of tokens that are constants, such as class tokens, and of the first tokens."""


class UnfitNetworkError(Exception):
    """The tokens of a network do not go from one attention to the next one by one; its text says how they do instead."""


class States(NamedTuple):
    """Where each of some tokens was last changed: the number of an attention and a row of its output."""

    attention: Tensor
    """(m,) int64; `PATCHES` before the first attention, whose rows are its values, and `NOWHERE` for constants."""
    row: Tensor
    """(m,) int64."""


class Step(NamedTuple):
    """One attention that the logits depend on."""

    lead: Sequence[int]
    """As in `Attention`."""
    num_rows: int
    """n."""
    values: States
    """Of its m values."""
    queries: States | None
    """Of the n tokens to which its output is added; None if it is added to none."""


class TokenFlow(NamedTuple):
    """How tokens go from the patches to the logits."""

    steps: dict[int, Step]
    """By the number of the attention."""
    num_products: int
    """The number of attention products of a forward pass, also of those without a step."""
    readout: States
    """Of the tokens that the logits read."""
    weights: Tensor
    """(m,) the share of each, 1 in all."""
    grid: TokenGrid
    """The values of the first attention at the patches."""


class Consumer(NamedTuple):
    """Tokens (1, m, D) in the graph: the values of an attention, or what the logits read."""

    edge: GradientEdge
    shape: tuple[int, int, int]


def token_flow(model: nn.Module, inputs: Tensor) -> TokenFlow:
    """Traces a forward pass of one input of noise.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits; under `eval_guard`.
        inputs: (B, C, H, W); their values are not used.

    Raises:
        UnfitNetworkError: if the network has no attention, or its tokens mix in other ways too.
        ValueError: if no gradient leads from the logits back to the pixels.
    """
    with AttentionTrace() as capture:
        trace = forward_trace(model, inputs)
    graph = TokenGraph(trace, capture)
    if not graph.numbers:
        raise UnfitNetworkError("its logits depend on none")
    grid = graph.grid()
    return graph.flow(grid)


class TokenGraph:
    """The graph of a traced pass, cut at the outputs of attention.

    Args:
        trace: of the forward pass.
        capture: of the same.
    """

    def __init__(self, trace: ForwardTrace, capture: AttentionTrace) -> None:
        self.trace, self.capture = trace, capture
        self.attentions = dict(enumerate(capture.attentions))
        self.gates: dict[Node, int] = {a.output.node: number for number, a in self.attentions.items()}
        self.consumers: dict[int, tuple[Consumer | None, States]] = {}
        """By the number of an attention, tokens that it was the last to change, or the last but others, and their states."""
        reached = list(walk([trace.logits.grad_fn]))
        self.numbers = sorted(self.gates[node] for node in reached if node in self.gates)
        """Of the attentions that the logits depend on."""
        self.start = self._first_with_gradient(reached)
        """Where VJPs of the logits begin: at them, or before a classifier of zeros."""
        self.pixels = next(GradientEdge(node, 0) for node in reached if hasattr(node, "variable"))

    def grid(self) -> TokenGrid:
        """The grid of the first values.

        Raises:
            UnfitNetworkError: if they have none.
        """
        grid = self.grid_of_values(self.numbers[0])
        if grid is None:
            raise UnfitNetworkError(
                f"its first attention is over {self.attentions[self.numbers[0]].keys} values that are not the tokens of one"
                " grid of patches, but of windows, channels or merged patches"
            )
        return grid

    def grid_of_values(self, number: int) -> TokenGrid | None:
        """The patches of the values of an attention, by the maps before it."""
        attention = self.attentions[number]
        others = [v for v in self.trace.visits if not (is_tokens(v) and v.shape[1] == attention.keys)]
        values = Visit(len(others), "", torch.Size((1, attention.keys, attention.width)), attention.values)
        trace = self.trace._replace(visits=[*others, values])
        return grid_of_tokens(trace, attention.keys, attention.width)

    def flow(self, grid: TokenGrid) -> TokenFlow:
        """The token flow.

        Raises:
            UnfitNetworkError: as in `token_flow`.
        """
        self.capture.is_cut = True
        values = dict[int, States]()
        for number in self.numbers:
            attention = self.attentions[number]
            consumer = Consumer(attention.values, (1, attention.keys, attention.width))
            values[number] = self.states_of_values(number, consumer)
            self.consumers |= dict.fromkeys(_attentions_in(values[number]), (consumer, values[number]))
        reader, readout, weights = self.readout()
        self.consumers |= dict.fromkeys(_attentions_in(readout), (reader, readout))
        steps: dict[int, Step] = {}
        for number in reversed(self.numbers):
            if number not in self.consumers:
                raise UnfitNetworkError("it has attention whose output is not added to the tokens")
            queries = self.states_of_queries(number, values[number])
            attention = self.attentions[number]
            steps[number] = Step(attention.lead, attention.queries, values[number], queries)
        return TokenFlow(steps, len(self.attentions), readout, weights, grid)

    def states_of_values(self, number: int, consumer: Consumer) -> States:
        """The states of the values of an attention."""
        every = torch.ones(consumer.shape[1], dtype=torch.bool, device=self.trace.logits.device)
        states, is_open = self.latest(consumer, self.directly_below(consumer.edge)[0], every)
        first = self.numbers[0]
        if number == first:
            return States(torch.full_like(states.row, PATCHES), torch.arange(len(every), device=every.device))
        if self.depends(consumer, is_open, []):
            ours, others = self.grid_of_values(number), self.grid_of_values(first)
            if ours is None or others is None or not torch.equal(ours.tokens, others.tokens):
                raise UnfitNetworkError("some of its tokens go around its first attention")
            states.attention[is_open], states.row[is_open] = PATCHES, is_open.nonzero()[:, 0]
        return states

    def states_of_queries(self, number: int, values: States) -> States | None:
        """The states of the tokens to which the output of an attention is added; None if it is added to none."""
        attention, (consumer, states) = self.attentions[number], self.consumers[number]
        start = get_gradient_edge(self.trace.logits) if consumer is None else consumer.edge
        direct, reaches_pixels = self.directly_below(start, number)
        earlier = [other for other in direct if other < number]
        if not earlier and not reaches_pixels:
            return None
        last = max(_attentions_in(values), default=PATCHES)
        is_plain = attention.queries == attention.keys and last == (earlier[0] if earlier else PATCHES)
        if is_plain and (consumer is None or not earlier):
            return values
        if consumer is None:
            raise UnfitNetworkError("its last attention has other queries than keys")
        mine = states.attention == number
        before, is_open = self.latest(consumer, earlier, mine)
        if self.depends(consumer, is_open, []):
            raise UnfitNetworkError("its attention has other queries than keys")
        for other in _attentions_in(before):
            self.consumers.setdefault(other, (consumer, before))
        queries = self._nowhere(attention.queries)
        rows = states.row[mine]
        queries.attention[rows], queries.row[rows] = before.attention[mine], before.row[mine]
        return queries

    def readout(self) -> tuple[Consumer | None, States, Tensor]:
        """The tokens that the logits read: by the last tokens that all logits come from, else by the last attention."""
        for visit in reversed(self.trace.visits):
            if is_tokens(visit) and not self._reaches_around(visit):
                consumer = Consumer(visit.edge, (1, visit.shape[1], visit.shape[2]))
                states = self._states_read(consumer)
                if states is not None:
                    return consumer, states, shares(self._read(visit.edge, visit.shape)[0])
        last = self.numbers[-1]
        attention = self.attentions[last]
        if attention.queries not in {1, attention.keys}:
            raise UnfitNetworkError("the output of its last attention has other tokens than patches")
        rows = torch.arange(attention.queries, device=self.trace.logits.device)
        weights = shares(attention.rows(self._read(attention.output, attention.shape)))
        return None, States(torch.full_like(rows, last), rows), weights

    def _states_read(self, consumer: Consumer) -> States | None:
        is_read = shares(self._read(consumer.edge, torch.Size(consumer.shape))[0]) > 0
        direct, _ = self.directly_below(consumer.edge)
        try:
            states, is_open = self.latest(consumer, direct, is_read)
        except UnfitNetworkError:
            return None
        return None if self.depends(consumer, is_open, []) else states

    def _reaches_around(self, visit: Visit) -> bool:
        """Whether the logits depend on attention or pixels not through the output of a visit alone."""
        nodes = walk([self.trace.logits.grad_fn], lambda node: node == visit.edge.node)
        return any(node != visit.edge.node and (node in self.gates or node == self.pixels.node) for node in nodes)

    def directly_below(self, edge: GradientEdge, cut: int | None = None) -> tuple[list[int], bool]:
        """The attentions, last first, that an output of the graph uses past no other one; and whether it uses pixels so.

        Args:
            edge: the output.
            cut: only attentions before this one count.
        """
        nodes = list(walk([edge.node], self.gates.__contains__))
        numbers = sorted((self.gates[node] for node in nodes if node in self.gates), reverse=True)
        return [n for n in numbers if cut is None or n < cut], self.pixels.node in nodes

    def latest(self, consumer: Consumer, numbers: list[int], rows: Tensor) -> tuple[States, Tensor]:
        """The states of some of the tokens among attentions, last first; and (m,) bool, which of them have none.

        Raises:
            UnfitNetworkError: if a token comes from several rows of an attention, or a row goes into several tokens.
        """
        states, is_open = self._nowhere(consumer.shape[1]), rows.clone()
        for place, number in enumerate(numbers):
            if not bool(is_open.any()) or (place and not self.depends(consumer, is_open, numbers[place:])):
                break
            found = self.rows_at(consumer, self.attentions[number], is_open)
            hit = is_open & (found >= 0)
            states.attention[hit], states.row[hit] = number, found[hit]
            is_open &= ~hit
        return states, is_open

    def _nowhere(self, count: int) -> States:
        rows = torch.full((count,), NOWHERE, device=self.trace.logits.device)
        return States(rows, torch.zeros_like(rows))

    def depends(self, consumer: Consumer, rows: Tensor, numbers: list[int]) -> bool:
        """Whether some of the tokens depend on the pixels, or on one of the attentions, past no attention."""
        if not bool(rows.any()):
            return False
        edges = [self.pixels, *(self.attentions[number].output for number in numbers)]
        vjps = self._vjps(self._cotangent(consumer, rows), edges, consumer.edge)
        return any(vjp is not None and bool(vjp.any()) for vjp in vjps)

    def rows_at(self, consumer: Consumer, attention: Attention, rows: Tensor) -> Tensor:
        """(m,) the row of an attention's output that each of the tokens comes from, −1 for none."""
        count = consumer.shape[1]

        def vjp_of(is_selected: Tensor) -> Tensor:
            cotangent = self._cotangent(consumer, is_selected.bool() & rows)
            (vjp,) = self._vjps(cotangent, [attention.output], consumer.edge)
            return attention.rows(cotangent.new_zeros(attention.shape) if vjp is None else vjp).T[..., None]

        numbers = torch.arange(count, device=rows.device)
        # Behind a weight of 0, as of a norm before training, no VJP tells.
        is_alike = attention.queries == count
        if is_alike and (self._one_to_one(vjp_of, rows) or not bool(vjp_of(torch.ones_like(numbers)).any())):
            return numbers.where(rows, -1)
        places = exact_places(vjp_of, count, self.trace.logits)
        if places is None:
            raise UnfitNetworkError(
                "between its attentions, tokens mix in another way, such as windows or convolutions"
            )
        (taken,) = (places[:, 0] >= 0).nonzero(as_tuple=True)
        found = torch.full_like(numbers, -1)
        found[places[taken, 0]] = taken
        if len(taken) != int((found >= 0).sum()):
            raise UnfitNetworkError("between its attentions, tokens are merged")
        return found

    def _one_to_one(self, vjp_of: Callable[[Tensor], Tensor], rows: Tensor) -> bool:
        """Whether each of the tokens comes from the row of its own number, by two halves of the tokens."""
        half = noise(rows.shape, self.trace.logits) > 0
        return all(torch.equal((vjp_of(part) != 0).any(dim=0)[:, 0], part & rows) for part in (half, ~half))

    def _cotangent(self, consumer: Consumer, rows: Tensor) -> Tensor:
        return noise(consumer.shape, self.trace.logits) * rows[:, None]

    def _vjps(self, cotangent: Tensor, edges: list[GradientEdge], start: GradientEdge) -> list[Tensor | None]:
        """VJPs at outputs of the graph; None where the start does not depend on them."""
        return list(scaled_gradients([start], edges, [cotangent], retain_graph=True, allow_unused=True))

    def _read(self, edge: GradientEdge, shape: torch.Size) -> Tensor:
        """The VJP of random logits at an output of the graph."""
        start, cotangent = self.start
        (vjp,) = self._vjps(cotangent, [edge], start)
        return cotangent.new_zeros(shape) if vjp is None else vjp

    def _first_with_gradient(self, nodes: list[Node]) -> tuple[GradientEdge, Tensor]:
        """The first output of the graph, from the logits down, from which a gradient other than 0 arrives at attention."""
        logits = self.trace.logits
        outputs = [self.attentions[number].output for number in self.numbers]
        below = [GradientEdge(child, number) for node in nodes for child, number in node.next_functions if child]
        for edge in [get_gradient_edge(logits), *below]:
            if edge.node in self.gates or not outputs:
                continue
            shape = edge.node._input_metadata[edge.output_nr].shape  # noqa: SLF001 - no public way to it
            cotangent = noise(shape, logits)
            if any(vjp is not None and bool(vjp.any()) for vjp in self._vjps(cotangent, outputs[-1:], edge)):
                return edge, cotangent
        return get_gradient_edge(logits), noise(logits.shape, logits)


def _attentions_in(states: States) -> set[int]:
    return {number for number in states.attention.tolist() if number >= 0}


def shares(gradients: Tensor) -> Tensor:
    """(m,) shares of tokens from the (m, D) gradients of the logits at them.

    Tokens with the same gradient are pooled, by a mean: they share equally. Several pools, such as a class token beside a
    mean of patches, count the same. Tokens without a gradient are not read.
    """
    values = gradients.double()
    is_read = values.any(dim=1)
    sizes = values.norm(dim=1)
    alike = torch.cdist(values, values) <= 1e-3 * torch.maximum(sizes[:, None], sizes)
    weights = is_read.double() / alike.sum(dim=1)
    return weights / weights.sum().clamp(min=1e-30)
