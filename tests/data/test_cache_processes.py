"""The cache of decoded pictures between processes: one is killed, or there are two at once."""

import fcntl
import hashlib
import json
import subprocess
import sys
import time

import pytest
from photographs import cache_file, load, write_photographs

from scratchvae.data import cache

pytestmark = pytest.mark.slow

COUNT, CHUNK = 22, 4  # files in the folder, pictures between two notes

# The other process: ten milliseconds per picture; the last pictures never finish.
PROCESS = f"""
import hashlib, sys, time
from pathlib import Path
from scratchvae.data import cache, decode, images

cache.CHUNK, decode.GROUP = {CHUNK}, 1
folder, patience = Path(sys.argv[1]), int(sys.argv[2])

def say(line):
    if "waiting" in line:
        print(line, file=sys.stderr, flush=True)
real, calls = decode.decode_or_reason, []

def slow(*arguments):
    calls.append(arguments)
    time.sleep(0.01 if len(calls) <= patience else 3600)
    return real(*arguments)

decode.decode_or_reason = slow
data = images.load_folder(folder, image_size=8, cache_dir=folder.parent / "cache", say=say)
print(len(calls), hashlib.sha256(data.train_images).hexdigest())
"""


@pytest.fixture
def photographs(tmp_path):
    return write_photographs(tmp_path / "photographs", COUNT)


def start(photographs, patience=COUNT):
    command = [sys.executable, "-c", PROCESS, photographs, str(patience)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Its stderr, how many pictures it decoded, and the digest of all pictures."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    calls, digest = out.split()
    return err, int(calls), digest


def expected_digest(photographs):
    return hashlib.sha256(load(photographs, cache="fresh").train_images).hexdigest()


def test_killed_midway(photographs):
    process = start(photographs, patience=14)
    until = time.monotonic() + 60
    while not list((photographs.parent / "cache").glob("*/note.json")):
        assert time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    process.communicate()
    kept = json.loads(cache_file(photographs, "note.json").read_text())["digests"]
    kept = CHUNK * len(kept)
    assert kept in (CHUNK, 2 * CHUNK, 3 * CHUNK)
    assert finish(start(photographs)) == ("", COUNT - kept, expected_digest(photographs))


def test_two_at_once_decode_once(photographs):
    first, second = start(photographs), start(photographs)
    _, first_calls, first_digest = finish(first)
    _, second_calls, second_digest = finish(second)
    assert {first_calls, second_calls} == {0, COUNT}
    assert first_digest == second_digest == expected_digest(photographs)


def test_the_second_waits_and_says_so(photographs, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", CHUNK)
    load(photographs)
    path = cache_file(photographs, "lock")
    with open(path, "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(photographs)
        line = process.stderr.readline()
        assert process.poll() is None
    assert line == f"waiting while another process decodes into {path.parent}\n"
    assert finish(process) == ("", 0, expected_digest(photographs))
