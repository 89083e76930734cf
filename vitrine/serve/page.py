"""The page of ``vitrine serve``, made with Gradio."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from vitrine.serve.answer import answer
from vitrine.serve.options import ServeOptions
from vitrine.serve.served import ServedNetwork
from vitrine.serve.uploads import check_upload

STYLE = Path(__file__).with_name("serve.css")
PREDICTED = "predicted class"
KEPT_SECONDS = 600
"""For which uploaded pictures stay in the temporary folder."""
WAITING = 32
"""Requests that may wait for their turn."""


def gradio_package() -> Any:
    """The package gradio, whose analytics are off.

    Raises:
        ModuleNotFoundError: where it is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    try:
        import gradio  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("vitrine serve needs gradio: pip install 'vitrine[serve]'") from error
    return gradio


def launched(networks: Mapping[str, ServedNetwork], options: ServeOptions) -> Any:
    """The page, which is served by a thread until ``close()``; its ``local_url`` says where.

    Raises:
        OSError: where the port is taken.
        ModuleNotFoundError: where gradio is not installed.
    """
    gr = gradio_package()
    page = made_page(networks, options)
    page.queue(default_concurrency_limit=1, max_size=WAITING, api_open=False)
    sans = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
    try:
        page.launch(
            server_name=options.host,
            server_port=options.port,
            share=False,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            max_file_size=options.max_megabytes * 2**20,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            theme=gr.themes.Base(font=sans, font_mono=("ui-monospace", "monospace"), primary_hue="violet"),
            css_paths=[STYLE],
        )
    except OSError as error:
        raise OSError(
            f"{options.host}:{options.port} cannot be served on, most likely since it is taken; give another --port."
        ) from error
    return page


def made_page(networks: Mapping[str, ServedNetwork], options: ServeOptions) -> Any:
    """The page as Gradio's blocks, before it is served."""
    gr = gradio_package()
    first = next(iter(networks))
    with gr.Blocks(
        analytics_enabled=False, title="Vitrine", delete_cache=(KEPT_SECONDS, KEPT_SECONDS), fill_width=True
    ) as page:
        gr.HTML('<h1 class="v-title">Vitrine<span>what does the network look at?</span></h1>')
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                network = gr.Dropdown(list(networks), value=first, label="Network", visible=len(networks) > 1)
                picture = gr.File(label="Picture", height=150, elem_id="picture")
                target = gr.Dropdown(label="Class to explain", elem_id="target", **_classes(networks[first]))
                methods = gr.Dropdown(label="Methods", multiselect=True, elem_id="methods", **_methods(networks[first]))
                predictions = gr.HTML(elem_id="predictions")
            with gr.Column(scale=3, min_width=320):
                heatmaps = gr.HTML(_welcome(options), elem_id="heatmaps", min_height=260)

        def explained(name: str, path: str | None, chosen: int, wanted: list[str]) -> tuple[str, str]:
            return _shown(networks[name], path, chosen, wanted, options)

        def of_network(name: str) -> tuple[Any, Any]:
            return gr.Dropdown(**_classes(networks[name])), gr.Dropdown(**_methods(networks[name]))

        network.input(of_network, network, [target, methods], api_visibility="private")
        gr.on(
            [picture.change, target.change, methods.change],
            explained,
            [network, picture, target, methods],
            [heatmaps, predictions],
            trigger_mode="always_last",
            show_progress_on=heatmaps,
            api_visibility="private",
        )
    return page


def _classes(served: ServedNetwork) -> dict[str, Any]:
    named = [(name, index) for index, name in enumerate(served.classes)]
    return {"choices": [(PREDICTED, -1), *named], "value": -1}


def _methods(served: ServedNetwork) -> dict[str, Any]:
    return {"choices": served.names, "value": list(served.first)}


def _shown(
    served: ServedNetwork, path: str | None, chosen: int, wanted: list[str], options: ServeOptions
) -> tuple[str, str]:
    """Heatmaps and predictions as HTML, or the sentence that says what is wrong."""
    if path is None:
        return _welcome(options), ""
    try:
        check_upload(Path(path), max_megabytes=options.max_megabytes, max_megapixels=options.max_megapixels)
        found = answer(served, Path(path), wanted, None if chosen < 0 else chosen)
    except (ValueError, OSError) as error:
        return f'<p class="v-error" role="alert">{escape(str(error))}</p>', ""
    return found.heatmaps, found.predictions


def _welcome(options: ServeOptions) -> str:
    return (
        '<p class="v-welcome">Drop a picture on the left; its heatmaps appear here. It stays on this machine and is removed'
        f" after {KEPT_SECONDS // 60} minutes. Up to {options.max_megabytes} MB.</p>"
    )
