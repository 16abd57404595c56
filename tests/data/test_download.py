"""Downloading MNIST's files from a server on this machine."""

import hashlib
import logging
import re
import shutil
import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from scratchvae.data import DataNotFound, find_files, load_cifar10, load_mnist, sources
from scratchvae.data.sources import FILES, SOURCES


def same(dataset, arrays):
    return all(np.array_equal(getattr(dataset, field), arrays[field]) for field in FILES)


def files_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@contextmanager
def serve(folder, fault=None):
    """Serve the files in `folder`; yield the address and the list of requested names.

    fault: None, "cut" (the connection closes after half of the bytes), "stall" (no more data after
    half of the bytes), "wrong" (other bytes), "missing" (404), "endless" (bytes without end),
    "drip" (a byte now and then), "drip in the header".
    """
    requested = []
    release = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[-1]
            requested.append(name)
            if fault == "missing":
                self.send_error(404)
                return
            if fault == "drip in the header":
                self.repeat(b"H", 0.05)
            data = (folder / name).read_bytes()
            self.send_response(200)
            if fault not in ("endless", "drip"):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if fault in ("endless", "drip"):
                self.repeat(*((bytes(1 << 16), 0) if fault == "endless" else (b"H", 0.05)))
            elif fault in ("cut", "stall"):
                self.wfile.write(data[: len(data) // 2])
                release.wait(20 if fault == "stall" else 0)
            else:
                self.wfile.write(b"?" * len(data) if fault == "wrong" else data)

        def repeat(self, data, seconds):
            with suppress(OSError):  # until the client hangs up
                while not release.wait(seconds):
                    self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/data/", requested
    finally:
        release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def dead_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


@pytest.fixture
def shelf(tmp_path, write_mnist):
    """The folder that the test servers serve, and its arrays."""
    return tmp_path / "shelf", write_mnist(tmp_path / "shelf")


@pytest.fixture
def use_mirrors(monkeypatch, shelf, cache):
    """Return a function that replaces MNIST's mirrors, and its hashes by those of the shelf."""
    source = SOURCES["mnist"]._replace(downloads=downloads(shelf[0], FILES.values()))
    return lambda *mirrors: monkeypatch.setitem(SOURCES, "mnist", source._replace(mirrors=mirrors))


def downloads(folder, names):
    """Size and SHA-256 of files, as in `Source`."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}


@pytest.mark.parametrize("terminal", [False, True])
def test_downloads_once(cache, shelf, use_mirrors, capfd, monkeypatch, terminal):
    folder, arrays = shelf
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with serve(folder) as (address, requested):
        use_mirrors(address)
        assert same(load_mnist("mnist"), arrays)
        assert same(load_mnist("mnist"), arrays)
        assert sorted(requested) == sorted(FILES.values())
    assert files_under(cache) == sorted(f"mnist/{name}" for name in FILES.values())
    out, err = capfd.readouterr()
    assert out == "" and (("100%" in err) if terminal else (err == ""))


def test_pooch_keeps_silent_and_is_left_as_it_was(cache, shelf, use_mirrors, monkeypatch):
    import pooch

    logger, heard = pooch.get_logger(), []
    handler = logging.Handler()
    handler.emit = heard.append
    monkeypatch.setattr(logger, "handlers", [handler])
    with serve(shelf[0]) as (address, _):
        use_mirrors(address)
        load_mnist("mnist")
    assert heard == []
    logger.info("pooch can be heard again")
    assert len(heard) == 1


@pytest.mark.parametrize("fault", ["dead", "missing", "wrong", "cut"])
def test_the_second_mirror_steps_in(cache, shelf, use_mirrors, fault):
    folder, arrays = shelf
    with serve(folder, fault) as (bad, asked), serve(folder) as (good, _):
        use_mirrors(dead_address() if fault == "dead" else bad, good)
        assert same(load_mnist("mnist"), arrays)
        assert len(asked) == (0 if fault == "dead" else 1)  # only until its first failure
    assert files_under(cache) == sorted(f"mnist/{name}" for name in FILES.values())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", "404 Client Error: Not Found for url: http.*-ubyte.gz"),
        ("wrong", r"SHA256 hash of downloaded file \(.*\) does not match the known hash: .*"),
        ("cut", r"IncompleteRead\(\d+ bytes read, \d+ more expected\)"),
        ("stall", "timed out"),
        ("endless", r"expected \d+ bytes, the server sends more"),
        ("drip", r"expected \d+ bytes in \d s, found 0 bytes \(slower than 50 kB/s\)"),
        ("drip in the header", r"expected \d+ bytes in \d s, found 0 bytes .*"),
    ],
)
def test_a_failed_download_ends_soon_and_leaves_nothing(
    cache, shelf, use_mirrors, monkeypatch, fault, reason
):
    """Also if no single wait for bytes is long."""
    monkeypatch.setattr(sources, "READ_SECONDS", 0.3)
    if "drip" in fault:
        monkeypatch.setattr(sources, "GRACE_SECONDS", 0.5)
    with serve(shelf[0], fault) as (address, _):
        use_mirrors(address)
        with pytest.raises(DataNotFound) as caught:
            load_mnist("mnist")
    assert re.search(f"^  - {address}: {reason}$", str(caught.value), re.MULTILINE)
    assert files_under(cache) == []


@pytest.mark.parametrize(
    ("size", "seconds"), [(5_000, 60), (9_912_422, 198), (170_498_071, 3410), (561_753_746, 11235)]
)
def test_the_time_for_a_download_depends_on_its_size(monkeypatch, tmp_path, size, seconds):
    waited = []

    class Waiting(threading.Thread):
        def join(self, timeout=None):
            waited.append(timeout)
            super().join(5)

    monkeypatch.setattr(sources, "Thread", Waiting)
    sources._download(lambda *_: None, size, "http://x.invalid/", tmp_path / "file", None)
    assert waited == [pytest.approx(seconds, abs=1)]


def archive(shelf, name, folder):
    """The files in `shelf` as one archive, in which they lie in `folder`."""
    (shelf.parent / "unpacked").mkdir()
    shelf.rename(shelf.parent / "unpacked" / folder)
    shelf.mkdir()
    kind = "zip" if name.endswith(".zip") else "gztar"
    made = shutil.make_archive(shelf / "archive", kind, shelf.parent / "unpacked", folder)
    return shutil.move(made, shelf / name)


@pytest.fixture
def offer(tmp_path, cache, monkeypatch):
    """Return a function that offers the archive of a data set at an address."""

    def offer(dataset, address):
        (name,) = SOURCES[dataset].downloads
        known = downloads(tmp_path / "shelf", [name])
        source = SOURCES[dataset]._replace(mirrors=(address,), downloads=known)
        monkeypatch.setitem(SOURCES, dataset, source)

    return offer


def test_the_sets_of_emnist_come_from_one_archive(tmp_path, cache, write_mnist, offer):
    for dataset in ("emnist-letters", "emnist-digits"):
        arrays = write_mnist(tmp_path / "shelf", SOURCES[dataset].files)
    archive(tmp_path / "shelf", "gzip.zip", "gzip")
    with serve(tmp_path / "shelf") as (address, requested):
        for dataset in ("emnist-letters", "emnist-digits", "emnist-letters"):
            offer(dataset, address)
            images = load_mnist(dataset).train_images
            assert np.array_equal(images.transpose(0, 2, 1), arrays["train_images"])
        assert requested == ["gzip.zip"]
        names = [f for d in ("emnist-letters", "emnist-digits") for f in SOURCES[d].files.values()]
        assert files_under(cache) == sorted(f"emnist/{name}" for name in ["gzip.zip", *names])
        offer("emnist-balanced", address)  # it is not in this archive
        with pytest.raises(DataNotFound):
            load_mnist("emnist-balanced")


def test_cifar10_comes_as_an_archive(tmp_path, cache, offer):
    (tmp_path / "shelf").mkdir()
    for name in SOURCES["cifar10"].files:
        (tmp_path / "shelf" / name).write_bytes(bytes(3 * 3073))
    archive(tmp_path / "shelf", "cifar-10-python.tar.gz", "cifar-10-batches-py")
    with serve(tmp_path / "shelf") as (address, requested):
        offer("cifar10", address)
        for _ in range(2):
            assert load_cifar10().train_images.shape == (15, 3, 32, 32)
        assert requested == ["cifar-10-python.tar.gz"]
    assert files_under(cache) == sorted(
        f"cifar10/{name}" for name in ["cifar-10-python.tar.gz", *SOURCES["cifar10"].files]
    )


def test_what_is_unpacked_half_is_not_taken(tmp_path, cache, write_mnist, offer, monkeypatch):
    def half(source, target, *_):
        target.write(source.read(100))
        raise OSError(28, "No space left on device")

    write_mnist(tmp_path / "shelf", SOURCES["emnist-mnist"].files)
    archive(tmp_path / "shelf", "gzip.zip", "gzip")
    with serve(tmp_path / "shelf") as (address, _):
        offer("emnist-mnist", address)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfileobj", half)
            with pytest.raises(DataNotFound, match="No space left on device"):
                load_mnist("emnist-mnist")
        assert files_under(cache) == ["emnist/gzip.zip"]
        assert len(load_mnist("emnist-mnist").train_images) == 7


def test_a_later_attempt_goes_on_where_an_earlier_one_stopped(cache, shelf, use_mirrors):
    folder, arrays = shelf
    last = folder / FILES["test_labels"]
    content = last.read_bytes()
    last.write_bytes(b"not what was promised")
    with serve(folder) as (address, requested):
        use_mirrors(address)
        with pytest.raises(DataNotFound):
            load_mnist("mnist")
        assert len(files_under(cache)) == 3
        last.write_bytes(content)
        requested.clear()
        assert same(load_mnist("mnist"), arrays)
        assert requested == [last.name]


def test_the_message_when_nothing_can_be_reached(cache, use_mirrors, tmp_path, monkeypatch):
    mirrors = dead_address(), dead_address()
    use_mirrors(*mirrors)
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "x"))
    with pytest.raises(DataNotFound) as caught:
        find_files("mnist")
    assert isinstance(caught.value, OSError)
    assert str(caught.value) == (
        "mnist is not on this machine and could not be downloaded. Tried:\n"
        f"  - $SCRATCHVAE_DATA = {tmp_path / 'x'}: there is no such folder\n"
        f"  - {cache / 'mnist'}: there is no such folder\n"
        f"  - {mirrors[0]}: [Errno 111] Connection refused\n"
        f"  - {mirrors[1]}: [Errno 111] Connection refused\n"
        f"Put these files, as they are or unpacked, into {cache / 'mnist'}\n"
        "or into a folder that you name with --data-dir or $SCRATCHVAE_DATA:\n"
        "  - train-images-idx3-ubyte.gz\n"
        "  - train-labels-idx1-ubyte.gz\n"
        "  - t10k-images-idx3-ubyte.gz\n"
        "  - t10k-labels-idx1-ubyte.gz"
    )


def test_a_cache_that_cannot_be_written_is_told(cache, use_mirrors):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    use_mirrors("http://never.asked.invalid/")
    with pytest.raises(DataNotFound, match=rf"invalid/: \[Errno 20\] .*: '{cache / 'mnist'}'\n"):
        load_mnist("mnist")


def test_of_nested_network_errors_the_innermost_is_quoted():
    from requests.exceptions import ConnectionError, TooManyRedirects
    from urllib3.exceptions import MaxRetryError, NameResolutionError

    name = socket.gaierror(-2, "Name or service not known")
    unresolved = NameResolutionError("x.org", None, name)
    retried = MaxRetryError(None, "/", unresolved)
    outer = ConnectionError(retried)
    unresolved.__context__, retried.__context__, outer.__context__ = name, unresolved, retried
    assert sources.explain(outer) == "[Errno -2] Name or service not known"
    assert sources.explain(TooManyRedirects()) == "TooManyRedirects"


def test_the_sources_are_complete():
    for name, source in SOURCES.items():
        assert all(re.fullmatch(r"https?://.+/", mirror) for mirror in source.mirrors), name
        assert source.mirrors and source.downloads and len(set(source.files.values())) >= 4
        assert name.startswith("emnist") or {*source.md5} == {*source.files.values()}
    hashes = [md5 for source in SOURCES.values() for md5 in source.md5.values()]
    assert len({*hashes}) == len(hashes) == 18
    counts = {name: len(source.classes or range(10)) for name, source in SOURCES.items()}
    assert counts == dict.fromkeys(SOURCES, 10) | {
        "emnist-letters": 27, "emnist-balanced": 47, "emnist-bymerge": 47, "emnist-byclass": 62,
    }  # fmt: skip
