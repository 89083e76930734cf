"""The default layers of inversion masks, tried on networks of timm of all families, with random weights.

    python -m benchmarks.inversion_layers
    python -m benchmarks.inversion_layers --networks vit_tiny_patch16_224 swin_tiny_patch4_window7_224

A default works where the mask of an image of noise, after 2 + 2 steps, is finite and not constant, and l₁ stands before l₀ or
is the same. Networks whose size can be chosen are built for images of --size pixels, others run at the first of these and
their usual sizes that they take. Prints a table, writes one JSON.
"""

import argparse
import time
from collections import Counter
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.common import add_common_options, machine, show, write_figures
from vitrine.attribution import InversionMask
from vitrine.attribution.autograd.backward import forward_trace
from vitrine.attribution.inversion import inversion_layers
from vitrine.attribution.inversion.choices import refusal_of_layers
from vitrine.attribution.inversion.layers import InversionLayers, cells_of_visits
from vitrine.attribution.inversion.settings import PAPER
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.image_sizes import refusal_of_size, working_size
from vitrine.core.image_ops import constant

NETWORKS = """
    beit_base_patch16_224 botnet26t_256 cait_xxs24_224 caformer_s18 coat_tiny coatnet_nano_rw_224 convit_tiny convmixer_768_32
    convnext_atto convnextv2_atto crossvit_tiny_240 cs3darknet_s cspresnet50 davit_tiny deit_tiny_distilled_patch16_224
    deit3_small_patch16_224 densenet121 dla46_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    efficientnet_b0 efficientvim_m1 efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw eva02_tiny_patch14_224 fasternet_t0
    fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224 hgnetv2_b0 hiera_tiny_224 hrnet_w18_small
    inception_next_atto inception_v3 inception_v4 legacy_seresnet18 legacy_xception levit_128s mambaout_femto
    maxvit_tiny_rw_224 mixer_s32_224 mobilenetv3_small_050 mobilenetv4_conv_small_035 mobileone_s0 mobilevit_xxs
    mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nest_tiny nextvit_small nf_regnet_b0 nfnet_f0 pit_ti_224
    pit_ti_distilled_224 poolformer_s12 pvt_v2_b0 rdnet_tiny regnetx_002 regnety_002 repghostnet_050 repvgg_a0 repvit_m0_9
    res2net50_14w_8s resmlp_12_224 resnest14d resnet18 resnetv2_50x1_bit rexnet_100 samvit_base_patch16_224 selecsls42
    sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256
    tf_efficientnetv2_b0 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small vgg11 visformer_tiny
    vit_base_patch16_clip_224 vit_base_patch16_siglip_224 vit_small_patch14_reg4_dinov2 vit_small_patch16_dinov3
    vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41 xcit_nano_12_p16_224
"""
"""Names of timm, one of each family."""
COLUMNS = ("network", "image", "l₁", "n", "cells", "l₀", "its shape", "seconds")


def build(name: str, size: int) -> tuple[nn.Module, int]:
    """A network of five classes with random weights, and the side of images that it takes."""
    for options in ({"img_size": size}, {}):
        try:
            model: nn.Module = timm.create_model(name, pretrained=False, num_classes=5, **options).eval()
        except (TypeError, ValueError, AssertionError, RuntimeError):  # it has no such option, or not this size
            continue
        backbone = FrozenBackbone(model)
        if refusal_of_size(backbone, size) is None:
            return model, size
        if not options:
            return model, working_size(backbone) or size
    raise ValueError(f"--networks: {name} cannot be built; give another name of timm.list_models().")


def layers_row(model: nn.Module, layers: InversionLayers, images: Tensor) -> list[str]:
    """What l₁ and l₀ give: channels and cells of l₁, and the shape of l₀ for one image."""
    trace = forward_trace(model, images)
    visits = {visit.layer: visit for visit in trace.last_of_each()}
    mask, inversion = visits[layers.mask[0]], visits[layers.inversion]
    ((_, cells),) = cells_of_visits(trace, [mask])
    channels = mask.shape.numel() // (cells[0] * cells[1]) if len(mask.shape) == 4 else mask.shape[2]
    shape = "×".join(map(str, inversion.shape[1:]))
    return [layers.mask[0], str(channels), "×".join(map(str, cells)), layers.inversion, shape]


def try_defaults(name: str, size: int) -> list[str]:
    """A row of the table.

    Raises:
        ValueError: where the default does not work, with what is wrong.
    """
    torch.manual_seed(0)
    started = time.perf_counter()
    model, side = build(name, size)
    images = torch.randn(1, 3, side, side)
    with eval_guard(model):
        layers = inversion_layers(model, images[:1])
        refusal = refusal_of_layers(model, images[:1], layers, PAPER)
        row = layers_row(model, layers, images[:1])
    masks = InversionMask(model, inversion_steps=2, class_steps=2).attribute(images)
    if refusal is not None or not bool(masks.isfinite().all()) or bool(constant(masks).any()):
        reason = "its mask is constant or not finite" if refusal is None else refusal.reason
        raise ValueError(f"the default layers do not work: {reason}.")
    return [name, str(side), *row, f"{time.perf_counter() - started:.1f}"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", default=NETWORKS.split(), metavar="NAME", help="of timm (one of each family)"
    )
    parser.add_argument("--size", type=int, default=96, help="side of the images in pixels (%(default)s)")
    add_common_options(parser, "runs/benchmarks/default_inversion_layers.json")
    args = parser.parse_args()
    rows, figures = list[list[str]](), dict[str, Any]()
    for name in args.networks:
        try:
            row = try_defaults(name, args.size)
        except (ValueError, RuntimeError) as error:
            row = [name, "", str(error), *[""] * (len(COLUMNS) - 3)]
        rows.append(row)
        figures[name] = dict(zip(COLUMNS[1:], row[1:], strict=True))
        write_figures(args.out, args, {"networks": figures})
    counts = Counter(bool(row[1]) for row in rows)
    show(f"{counts[True]} of {len(rows)} defaults work ({machine()})", COLUMNS, rows)


if __name__ == "__main__":
    main()
