"""The two ends of a network: the number of channels that it takes, and the layer that gives it its logits."""

from torch import nn


def input_channels(model: nn.Module) -> int:
    """C of the (B, C, H, W) images that a network takes: those of its first convolution; 3 where it has none.

    Example:
        >>> input_channels(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)))
        1
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels


def classifier_layer(model: nn.Module) -> str:
    """Dotted name of the last linear or convolutional layer, in the order in which the network was built.

    Raises:
        ValueError: for a network without one.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if not names:
        raise ValueError(f"{type(model).__name__} has no linear or convolutional layer to classify with.")
    return str(names[-1])


def replace_classifier(model: nn.Module, num_classes: int) -> None:
    """Gives a network a new last layer for ``num_classes`` logits; one that already has as many stays."""
    name = classifier_layer(model)
    old = model.get_submodule(name)
    if isinstance(old, nn.Linear) and old.out_features != num_classes:
        new: nn.Module = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    elif isinstance(old, nn.Conv2d) and old.out_channels != num_classes:
        new = nn.Conv2d(old.in_channels, num_classes, old.kernel_size, bias=old.bias is not None)  # type: ignore[arg-type]
    else:
        return
    # Small weights: a network that ends in a ReLU (SqueezeNet) has no gradient for logits that start far below 0.
    nn.init.normal_(new.get_parameter("weight"), std=0.01)
    if old.bias is not None:
        nn.init.zeros_(new.get_parameter("bias"))
    model.set_submodule(name, new)
