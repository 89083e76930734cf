"""``vitrine serve``: a page in the browser where one drops a picture and sees what the network looks at."""

from vitrine.serve.cli import main

__all__ = ["main"]
