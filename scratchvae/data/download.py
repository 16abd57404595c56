"""Fetching files that may be trusted: from several mirrors, checked against a known hash.

Pooch does the work. It downloads to a temporary name, compares the hash, and only then renames,
so that a file under its final name is always a whole and right one. What is added here is the
order of trying, and an account of what went wrong that a person can act on: the network's own
errors bury "there is no internet here" in four nested objects.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .sources import Source

CONNECT_SECONDS = 5  # long enough for a slow link, short enough to try several mirrors
READ_SECONDS = 30
CHUNK_BYTES = 1 << 16


def fetch(source: Source, folder: Path) -> list[str]:
    """Download the files of `source` into `folder`, as far as they are not there yet.

    A mirror that fails once is left for the next one: four timeouts teach no more than one.

    Parameters
    ----------
    source : Source
        The mirrors and the files.
    folder : Path
        Created when needed.

    Returns
    -------
    list of str
        Empty when all files are there; otherwise, for each mirror, why it failed.
    """
    # Imported here, and not above, for `import scratchvae` to stay fast.
    import pooch

    # A progress bar is for a person; in a log file it would be thousands of lines.
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=CHUNK_BYTES,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        # A helpful server might unpack the file on the way, and its hash would not fit.
        headers={"Accept-Encoding": "identity"},
    )
    failures = []
    for mirror in source.mirrors:
        try:
            # Pooch announces every file on stderr; the progress bar says enough. Its logger is
            # its own: logging.getLogger("pooch") would be another one.
            with _quiet(pooch.get_logger()):
                for name, known_hash in source.hashes.items():
                    pooch.retrieve(
                        mirror + name,
                        known_hash=known_hash,
                        fname=name,
                        path=folder,
                        downloader=downloader,
                    )
            return []
        except (OSError, ValueError) as error:
            failures.append(f"{mirror}: {explain(error)}")
    return failures


def explain(error: BaseException) -> str:
    """Say in a few plain words why a download failed.

    Parameters
    ----------
    error : BaseException
        What pooch raised: an error of requests (recognised by its name, so that requests is not
        imported), of the file system, or of the hash check.

    Returns
    -------
    str
        One short clause.
    """
    kind, text = type(error).__name__, str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot write the file here ({os.strerror(error.errno)})"
    if kind == "HTTPError":
        return f"the server answered {text.split(' for url')[0]}"
    if kind == "ConnectTimeout":
        return f"no answer within {CONNECT_SECONDS} seconds"
    if "timed out" in text.lower():
        return f"nothing came for {READ_SECONDS} seconds"
    if any(sign in text for sign in ("NameResolution", "getaddrinfo", "Name or service")):
        return "the host name was not found (is there an internet connection?)"
    if kind == "SSLError":
        return "no secure connection could be made"
    if kind == "ProxyError":
        return "the proxy could not be reached, or refused"
    if kind == "ChunkedEncodingError" or "IncompleteRead" in text:
        return "the connection was cut midway"
    if "refused" in text:
        return "the connection was refused"
    if kind == "ConnectionError":
        return "no connection could be made"
    if "hash" in text:
        return "the file that came is not the expected one (its hash differs)"
    return kind


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    # A filter and not setLevel: this logger is registered nowhere, so nobody would clear its memory
    # of the level, and it would stay silent for good.
    def nothing(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)
