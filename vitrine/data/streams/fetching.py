"""Fetching: bytes from URLs and commands, with retries and exponential back-off."""

import http.client
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

from vitrine.core.credentials import hide_credentials
from vitrine.data.shards.tar_samples import ShardError
from vitrine.data.streams.locations import PIPE

TIMEOUT_SECONDS = 60.0
"""Without a byte from a server."""
FIRST_WAIT_SECONDS = 1.0
"""Between the first try and the second; each further wait is twice as long."""
CHUNK = 1 << 20
MAX_BYTES = 256 * 2**20
"""Of what is read into memory: the index of a set of ten million images is smaller."""
TRANSIENT_STATUS = frozenset({408, 429})
"""HTTP errors of the 4xx that may pass."""
T = TypeVar("T")


class FetchError(ShardError):
    """Something cannot be fetched."""


class MissingError(FetchError):
    """There is nothing at a URL, or nobody may see it: trying again would not help."""


class TransientError(Exception):
    """A failure that may pass, such as a connection that was closed."""


def fetch(url: str, take: Callable[[bytes], object]) -> None:
    """Hands over all bytes at a URL, a chunk at a time.

    Raises:
        MissingError: where there is nothing.
        TransientError: for a failure that may pass; some bytes may have been handed over.
    """
    try:
        with _opened(url) as (file, length):
            count = 0
            while chunk := file.read(CHUNK):
                take(chunk)
                count += len(chunk)
    except urllib.error.HTTPError as error:
        if 400 <= error.code < 500 and error.code not in TRANSIENT_STATUS:
            raise MissingError(
                f"{hide_credentials(url)} cannot be read (HTTP {error.code} {error.reason}); check the address."
            ) from error
        raise TransientError(f"HTTP {error.code} {error.reason}") from error
    except (FileNotFoundError, PermissionError) as error:
        raise MissingError(f"{hide_credentials(f'{url} cannot be read ({error})')}; check the address.") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(str(error) or type(error).__name__) from error
    if length is not None and count != length:
        raise TransientError(f"{count} of {length} bytes came")


def retried(action: Callable[[], T], name: str, tries: int) -> T:
    """What an action gives, which is tried again after a failure that may pass.

    Args:
        action: may raise `TransientError`.
        name: of what is fetched, for the message.
        tries: at most.

    Raises:
        FetchError: where the last try fails too.
    """
    for number in range(tries):
        try:
            return action()
        except TransientError as error:
            reason = str(error)
        if number < tries - 1:
            time.sleep(FIRST_WAIT_SECONDS * 2**number)
    raise FetchError(f"{hide_credentials(name)} could not be read in {tries} tries ({reason}); try again later.")


def fetch_bytes(url: str, tries: int) -> bytes:
    """All bytes at a URL, such as those of an index; errors are those of `fetch` and `retried`.

    Raises:
        FetchError: for more than `MAX_BYTES`.
    """

    def once() -> bytes:
        data = bytearray()

        def take(chunk: bytes) -> None:
            if len(data) + len(chunk) > MAX_BYTES:
                raise FetchError(
                    f"{hide_credentials(url)} gives more than {MAX_BYTES} bytes, which is no index; check the address."
                )
            data.extend(chunk)

        fetch(url, take)
        return bytes(data)

    return retried(once, url, tries)


@contextmanager
def _opened(url: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """A URL's file, and its length in bytes where that is known."""
    if url.startswith(PIPE):
        with _command(url.removeprefix(PIPE)) as output:
            yield output, None
    elif url.startswith(("http://", "https://")):
        request = urllib.request.Request(url, headers={"User-Agent": "vitrine"})  # noqa: S310 - http alone
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            length = response.headers.get("Content-Length")
            yield response, None if length is None else int(length)
    else:
        with _fsspec().open(url, "rb") as file:
            yield file, None


@contextmanager
def _command(command: str) -> Iterator[IO[bytes]]:
    """Standard output of a shell command, whose failure raises at the end."""
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as process:  # noqa: S602 - the user's own
        output: Any = process.stdout
        yield output
        code = process.wait()
    if code:
        raise ChildProcessError(f"exit code {code}")


def _fsspec() -> Any:
    try:
        import fsspec  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Shards at s3://, gs:// and the like need fsspec: pip install 'vitrine[remote]', and the package of the"
            " protocol, such as s3fs."
        ) from error
    return fsspec
