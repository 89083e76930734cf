"""Command line of ``vitrine export``: a saved explainer as an ONNX file."""

import sys
from collections.abc import Sequence
from pathlib import Path

from vitrine.core.command_line import SentenceParser, exit_code_of

DESCRIPTION = """Writes a saved explainer, backbone and head, to one ONNX file with a dynamic batch, and compares it with the
explainer before it is kept. What needs backward passes is refused with a sentence; --logits exports the backbone alone."""


def main(arguments: Sequence[str] | None = None, prog: str = "vitrine export") -> int:
    """Runs the command and returns its exit code; 2 after a wrong argument, with one sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code_of(lambda: _run(given, prog))


def _run(arguments: Sequence[str], prog: str) -> int:
    parser = SentenceParser(prog=prog, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("explainer", help="folder of a saved explainer")
    parser.add_argument("--out", type=Path, default=Path("model.onnx"), metavar="FILE", help="the file (model.onnx)")
    parser.add_argument(
        "--backbone",
        metavar="FILE",
        help="weights of its network, where the folder does not hold them; or its class, model.py:MyNet",
    )
    parser.add_argument("--logits", action="store_true", help="the backbone alone: images to logits")
    parser.add_argument("--size", type=int, help="side of the input in pixels, where the explainer does not know it")
    options = parser.parse_args(arguments)
    # Imported once the line is known to be right: torch takes seconds.
    from vitrine.explainers import load  # noqa: PLC0415
    from vitrine.export.onnx_file import export_onnx  # noqa: PLC0415

    explainer = load(options.explainer, backbone=options.backbone)
    written = export_onnx(explainer, options.out, image_size=options.size, logits_only=options.logits)
    inputs, outputs = (", ".join(names) for names in (written.inputs, written.outputs))
    sys.stdout.write(f"{options.out}: {inputs} to {outputs}; differs by {written.difference:.1e} from the explainer\n")
    return 0
