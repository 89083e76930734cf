"""An HTTP server of a folder that fails at times, counts requests, and can cut what it sends."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Served:
    """What a server gives, and how it fails.

    Args:
        folder: what is served.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: Counter[str] = Counter()
        self.status: Callable[[str, int], int] = lambda name, number: 200  # noqa: ARG005
        """The status of the number-th request of a file, from 1."""
        self.change: Callable[[str, int, bytes], bytes] = lambda name, number, data: data  # noqa: ARG005
        """What is sent of a file, whose length is announced all the same."""
        self.lock = threading.Lock()

    def reply(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        name = handler.path.lstrip("/")
        with self.lock:
            self.requests[name] += 1
            number = self.requests[name]
        path = self.folder / name
        status = self.status(name, number)
        if status == 200 and not path.is_file():
            status = 404
        data = path.read_bytes() if status == 200 else b""
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(self.change(name, number, data))


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serves a folder at ``http://127.0.0.1``."""
    served = Served(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.reply(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
