"""Gradient checkpointing switched off within a context: `torch.utils.checkpoint` then runs segments as ordinary calls."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch.utils import checkpoint as torch_checkpoint


class _Depth(threading.local):
    """The number of contexts that the current thread is in."""

    value = 0


_depth = _Depth()
_lock = threading.Lock()
_open_contexts = 0
_put_back: list[Callable[[], None]] = []


@contextmanager
def without_checkpointing() -> Iterator[None]:
    """A context in which gradient checkpointing does nothing: what is checkpointed runs once and keeps its activations.

    A checkpointed segment runs a second time in the backward pass, when the hooks on its layers and the interception of its
    operators are gone; and the reentrant form gives no gradients at single tensors. Results are those of the network without
    checkpointing, for the memory that it takes without.

    It holds for `torch.utils.checkpoint` in all its forms (reentrant or not, ``checkpoint_sequential``, under other names),
    and for what rests on it, such as timm's ``set_grad_checkpointing`` and torchvision's ``memory_efficient`` DenseNets. No
    model is changed. Other threads go on with checkpointing, and torch is as it was when the last context has ended.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _open_contexts  # noqa: PLW0603 - of the process, as torch's functions are
    with _lock:
        if not _open_contexts:
            _replace()
        _open_contexts += 1
    _depth.value += 1


def _leave() -> None:
    global _open_contexts  # noqa: PLW0603 - see above
    _depth.value -= 1
    with _lock:
        _open_contexts -= 1
        if not _open_contexts:
            while _put_back:
                _put_back.pop()()


def _replace() -> None:
    """Replaces what both forms of checkpointing look up when they are called, so that it does not matter who calls them."""
    # Neither is a documented name: where a version of torch lacks one, that form of checkpointing stays as it is.
    hook = getattr(torch_checkpoint, "_checkpoint_hook", None)
    if hook is not None:
        _set(torch_checkpoint, "_checkpoint_hook", _hook_unless_off(hook))
    function = getattr(torch_checkpoint, "CheckpointFunction", None)
    if function is not None:
        _set(function, "apply", _apply_unless_off(function.apply))


def _set(owner: Any, name: str, value: Any) -> None:
    own = vars(owner).get(name)  # None where it is inherited

    def put_back() -> None:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)

    setattr(owner, name, value)
    _put_back.append(put_back)


def _hook_unless_off(hook: Callable[..., AbstractContextManager[Any]]) -> Callable[..., AbstractContextManager[Any]]:
    """The hook of the form that is not reentrant, which drops activations and computes them again."""

    def hook_unless_off(*args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        return nullcontext() if _depth.value else hook(*args, **kwargs)

    return hook_unless_off


def _apply_unless_off(apply: Callable[..., Any]) -> Any:
    """``CheckpointFunction.apply``, the reentrant form."""

    def apply_unless_off(run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        return run_function(*args) if _depth.value else apply(run_function, preserve_rng_state, *args)

    return staticmethod(apply_unless_off)
