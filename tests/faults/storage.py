"""Disks that are full, folders that cannot be written or are gone, two runs in one folder."""

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench import check_what_is_there, contents, leftovers, write_data
from instants import instants

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


class Skipped(Exception):
    """This fault cannot be simulated here; the message says why."""


def faults(benches, kills, seed):
    """Faults of disk, permissions and data, and two runs at once."""
    for at in ("half of checkpoints/step-000000004", "half of checkpoints/step-000000024",
               "half of weights.safetensors"):  # fmt: skip
        yield f"files may not grow (RLIMIT_FSIZE), {at}", partial(file_limit, at)
    yield "disk full: a tmpfs of 1600 kB", small_disk
    yield "the run's folder read-only, before the start", read_only_before
    yield "the run's folder read-only, while training", read_only_meanwhile
    yield "the run's folder deleted while training", deleted
    yield "read-only cache and home, kernels to compile", read_only_cache
    yield "the data folder gone before --resume", data_gone
    yield "the data folder gone while training", data_gone_meanwhile
    yield "other data before --resume", data_changed
    yield "two runs into one folder at once", two_at_once
    yield "a run into the folder of a finished one", into_a_finished_one
    yield "a lock with the number of a living process", lock_left_behind


def told_how_to_go_on(bench, run, ended, why):
    """Check a run that could not write: one line, no temporary files, same end when resumed."""
    assert ended.status == 2 and why in ended.told and "cannot be written" in ended.told, ended
    safe = check_what_is_there(run)
    last = f"step-{safe:09}.safetensors" if safe else "there is no checkpoint yet"
    assert last in ended.told and f"to continue: scratchvae train --resume {run}" in ended.told
    assert not leftovers(run), leftovers(run)
    return f"one line: {why}; how to go on", bench.finish(run)


def file_limit(at, benches):
    """As on a full disk, writing fails in the middle of a file."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()

    def no_more():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    ended = bench.train(run, at=at.replace("half of", "after open"), act=no_more)
    return told_how_to_go_on(bench, run, ended, "File too large")


def small_disk(benches):
    """A file system that exists only for this process."""
    bench = benches["tiny-numpy"]
    run, disk = bench.new_run(), bench.new_run()
    disk.mkdir()
    scratchvae = f'"{sys.executable}" -m scratchvae train'
    options = " ".join(bench.options)
    script = f"""mount -t tmpfs -o size=1600k none {disk} || exit 99
        {scratchvae} {options} --out {disk}/run --quiet; echo "status $?" >&2
        ls -A {disk}/run/checkpoints >&2
        mount -o remount,size=50m {disk}; cp -r {disk}/run {run}"""
    if shutil.which("unshare") is None:
        raise Skipped("there is no unshare here")
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode == 99 or "unshare:" in ended.stderr:
        raise Skipped(f"no file system can be mounted here: {ended.stderr.strip()}")
    line, status, *files = ended.stderr.splitlines()
    assert status == "status 2" and "No space left on device" in line, ended.stderr
    assert f"{disk}/run/checkpoints/{sorted(files)[-1]}" in line, ended.stderr
    assert not leftovers(run), files
    return "one line: No space left on device; how to go on", bench.finish(run)


def drop_rights():
    """The superuser may write anywhere: become the user `nobody` in this process."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def read_only_before(benches):
    """Training does not begin."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    run.mkdir(mode=0o555)
    ended = bench.train(run, at="after load the data", act=drop_rights)
    assert ended.status == 2 and "Permission denied" in ended.told and str(run) in ended.told, ended
    run.chmod(0o755)
    return "one line: Permission denied", bench.finish(run)


def read_only_meanwhile(benches):
    """As on a full disk."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()

    def read_only():
        for folder in (run, run / "checkpoints"):
            folder.chmod(0o555)
        drop_rights()

    ended = bench.train(run, at="after replace checkpoints/best", act=read_only)
    for folder in (run, run / "checkpoints"):
        folder.chmod(0o755)
    return told_how_to_go_on(bench, run, ended, "Permission denied")


def deleted(benches):
    """Nothing can be saved, and the folder is not created again."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    ended = bench.train(run, at="before eval", act=lambda: shutil.rmtree(run))
    assert ended.status == 2 and "there is no folder" in ended.told, ended
    assert "there is no checkpoint" in ended.told and "--resume" not in ended.told, ended
    assert not run.exists()
    return "one line: there is no folder", bench.finish(run)


def read_only_cache(benches):
    """Compiled kernels cannot be kept: they are compiled for this run only."""
    if "tiny-numba" not in benches:
        raise Skipped("the engine numba is left out")
    bench = benches["tiny-numba"]
    run, blocked = bench.new_run(), bench.folder / "blocked"
    run.mkdir(mode=0o777)
    run.chmod(0o777)
    blocked.touch()
    env = os.environ | {"HOME": "/nonexistent", "XDG_CACHE_HOME": str(blocked)}
    command = [sys.executable, "-m", "scratchvae"]
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        subprocess.run([*command, "--version"], cwd=ROOT, env=env, check=True, **who)
    except (PermissionError, subprocess.CalledProcessError):
        who = {}  # the user nobody cannot run this Python; a file in the way stops root as well
    ended = subprocess.run(
        [*command, "train", *bench.options, "--out", str(run)],
        cwd=ROOT, env=env, capture_output=True, text=True, **who,
    )  # fmt: skip
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended
    return "trains all the same", bench.finish(run)


def data_gone(benches):
    """One line on stderr; when the data is back, the run can be resumed."""
    bench = benches["tiny-numpy"]
    run, data, safe = _own_data(bench)
    data.rename(safe)
    ended = bench.resume(run)
    assert ended.status == 2 and str(data) in ended.told, ended
    safe.rename(data)
    return "one line, with the folder's name", bench.finish(run)


def data_gone_meanwhile(benches):
    """The images are in memory, so the run does not notice."""
    bench = benches["tiny-numpy"]
    run, data = bench.new_run(), bench.new_run()
    shutil.copytree(bench.data, data)
    ended = bench.train(
        run, at="after step", act=lambda: shutil.rmtree(data), options=["--data-dir", str(data)]
    )
    assert ended.status == 0, ended
    shutil.copytree(bench.data, data)
    return "trains to its end", bench.finish(run)


def data_changed(benches):
    """Changed data is rejected because of its hash."""
    bench = benches["tiny-numpy"]
    run, data, safe = _own_data(bench)
    data.rename(safe)
    data.mkdir()
    write_data(data, seed=1)
    ended = bench.resume(run)
    assert ended.status == 2 and "the data set has changed" in ended.told, ended
    shutil.rmtree(data)
    safe.rename(data)
    return "one line: the data set has changed", bench.finish(run)


def _own_data(bench):
    """A stopped run, its data folder, and a path to move that folder to."""
    data = bench.new_run()
    shutil.copytree(bench.data, data)
    return bench.stopped(options=["--data-dir", str(data)]), data, bench.new_run()


def two_at_once(benches):
    """A second run, new or resumed, is rejected; the first run is not affected."""
    bench = benches["tiny-numpy"]
    run, seconds = bench.new_run(), []

    def second():
        seconds.append(bench.train(run))
        seconds.append(bench.resume(run))

    ended = bench.train_with_a_pause(run, "half of checkpoints/step-000000012", second)
    for refused in seconds:
        assert refused.status == 2 and "another process" in refused.told, refused
    assert ended.status == 0 and not ended.err, ended
    assert instants(run)
    return "the second refused, with one line", bench.finish(run)


def into_a_finished_one(benches):
    """Rejected; no file changes."""
    bench = benches["tiny-numpy"]
    run = bench.folder / "reference"
    ended = bench.train(run)
    assert ended.status == 2 and "already contains a run" in ended.told, ended
    assert contents(run) == bench.files
    return "refused, with one line", "not a byte is touched"


def lock_left_behind(benches):
    """A leftover lock file does not matter: the system holds the lock, not the file."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    (run / "lock").write_text(f"{os.getppid()}\n")
    return "no obstacle", bench.finish(run)
