"""Malformed input: the files kept in corpus/, and some thousands of generated ones.

`python tests/fuzz` generates any number; minimised findings are added to the corpus.
"""

import signal
from pathlib import Path

import fuzzing
import pytest
import worker
from fuzzing import fuzz, keep
from inputs import make_input
from mutating import MAX_BYTES
from parsers import PARSERS

HERE = Path(__file__).resolve().parent
COUNT = 500


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in (HERE / "corpus").iterdir()))
def test_every_file_of_the_corpus_ends_as_its_name_says(name):
    files = sorted((HERE / "corpus" / name).iterdir())
    tally = fuzz(name, files=files)
    assert tally.surprises == {}
    for path, verdict in zip(files, tally.verdicts, strict=True):
        assert verdict == ("accepted" if path.name.startswith("accepted") else "refused"), path


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_thousands_of_inputs_hold_no_surprise(name, tmp_path):
    tally = fuzz(name, seed=1, count=COUNT)
    assert keep(tally, name, 1, tmp_path) == []
    for verdict in ("accepted", "refused"):  # both verdicts occur
        assert tally.verdicts.count(verdict) > COUNT / 50


@pytest.mark.slow
def test_a_library_that_writes_much_to_stderr_does_not_stop_the_worker(tmp_path):
    """libtiff says what it cannot decode; a pipe that is not read holds 64 kB of it."""
    path = tmp_path / "damaged.tiff"
    path.write_bytes(make_input("formats", 0, 9578))
    tally = fuzz("formats", files=[path] * 3000)
    assert tally.surprises == {} and tally.verdicts.count("refused") == 3000


@pytest.mark.parametrize("name", PARSERS)
def test_an_input_is_the_same_every_time_and_no_two_seeds_agree(name):
    for number in range(20):
        content = make_input(name, 0, number)
        assert content == make_input(name, 0, number) and len(content) <= MAX_BYTES
    assert [make_input(name, 0, i) for i in range(9)] != [make_input(name, 1, i) for i in range(9)]


def test_the_judge_knows_a_surprise_from_a_refusal(tmp_path):
    def surprising(path):
        raise MemoryError("a bomb")

    assert worker._judge(lambda path: True, tmp_path)[::2] == ("accepted", "")
    assert worker._judge(lambda path: False, tmp_path)[::2] == ("refused", "")
    assert worker._judge(surprising, tmp_path)[::2] == ("surprise", "MemoryError: a bomb")
    assert signal.alarm(0) == 0


FRAGILE = """
import json, os, signal, sys
for number in range(int(sys.argv[3]), int(sys.argv[4])):
    if number in (1, 4):
        os.kill(os.getpid(), signal.SIGALRM if number == 1 else signal.SIGSEGV)
    print(json.dumps(["accepted", 1.0, number, ""]), flush=True)
"""


def test_goes_on_after_an_input_that_ends_the_process(tmp_path, monkeypatch):
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.setattr(fuzzing, "WORKER", tmp_path / "fragile.py")
    tally = fuzz("idx", count=5)
    assert tally.verdicts == ["accepted", "surprise", "accepted", "accepted", "surprise"]
    assert tally.largest == 3
    assert tally.surprises == {1: "Alarm clock", 4: "Segmentation fault"}
    lines = keep(tally, "idx", 0, tmp_path)
    assert lines[0] == f"{tmp_path / 'idx-0-1'}: Alarm clock"
    assert (tmp_path / "idx-0-4").read_bytes() == make_input("idx", 0, 4)


def test_a_worker_that_cannot_start_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such thing')")
    monkeypatch.setattr(fuzzing, "WORKER", tmp_path / "broken.py")
    with pytest.raises(RuntimeError, match="worker idx 0: no such thing"):
        fuzz("idx", count=5)
