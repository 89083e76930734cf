"""Exports explainers to ONNX: networks with heads whose results are one forward pass."""

from typing import Any

__all__ = ["export_onnx"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that the command's --help starts without torch's weight.
    if name == "export_onnx":
        from vitrine.export.onnx_file import export_onnx  # noqa: PLC0415

        return export_onnx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
