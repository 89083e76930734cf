"""The page in a browser without a head: a picture dropped, its heatmaps seen, a text file refused with a sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitrine.serve.options import ServeOptions
from vitrine.serve.page import launched
from vitrine.serve.served import ServedNetwork

pytest.importorskip("gradio")
DROP = """([zone, data]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(data)], "dropped.png", {type: "image/png"}));
  for (const name of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(name, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def url(served: ServedNetwork) -> Iterator[str]:
    page = launched({"FlowerNet": served}, ServeOptions(model="served", max_megabytes=1))
    yield page.local_url
    page.close(verbose=False)


@pytest.fixture
def tab(url: str, browser: Any) -> Iterator[Any]:
    tab = browser.new_page()
    tab.set_default_timeout(20_000)
    tab.requests = []
    tab.on("request", lambda request: tab.requests.append(request.url))
    tab.goto(url)
    tab.wait_for_selector("#picture input[type=file]", state="attached")
    yield tab
    tab.close()


def test_a_dropped_picture_is_explained_and_a_text_file_refused(
    tab: Any, url: str, served: ServedNetwork, photo: Path, tmp_path: Path
) -> None:
    tab.wait_for_selector(".v-welcome")
    zone = tab.query_selector("#picture button")
    tab.evaluate(DROP, [zone, list(photo.read_bytes())])
    tab.wait_for_selector(".v-maps img")
    assert tab.locator(".v-maps figure").count() == 2
    width = tab.eval_on_selector(".v-maps figure:nth-child(2) img", "image => image.naturalWidth")
    assert width == 90  # at the picture's own size
    assert tab.locator(".v-predictions tr").count() == min(5, len(served.classes))

    chosen = served.classes[3]
    tab.locator("#target input").fill(chosen)
    tab.get_by_role("option", name=chosen, exact=True).click()
    tab.wait_for_selector(f".v-target:has-text('{chosen}')")

    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    tab.locator("#picture").get_by_label("Clear").first.click()
    tab.wait_for_selector(".v-welcome")
    tab.set_input_files("#picture input[type=file]", str(notes))
    tab.wait_for_selector(".v-error")
    assert tab.inner_text(".v-error").startswith("notes.txt is no picture that can be read")
    assert all(request.startswith((url, "data:", "blob:")) for request in tab.requests)
