"""Run all faults, in one process per core, and make the table."""

import os
from multiprocessing import get_context
from typing import NamedTuple

import combinations
import damage
import identity
import kills
import stops
import storage
from bench import Bench

GROUPS = {
    "kills": kills.faults,
    "damage": damage.faults,
    "storage": storage.faults,
    "stops": stops.faults,
    "identity": identity.faults,
    "combinations": combinations.faults,
}
ENGINES = ("numpy", "numba")
_faults, _benches = [], {}  # set before the processes are forked


class Row(NamedTuple):
    fault: str
    happened: str
    survived: str
    verdict: str  # ok, FAILED or skipped


def examine_all(folder, engines, groups, count, seed):
    """Yield rows as they are finished."""
    folder.chmod(0o755)  # some faults run as a user without write permission
    for engine in engines:
        _benches[f"tiny-{engine}"] = Bench(folder, "tiny", engine)
    for group in groups:
        _faults.extend(GROUPS[group](_benches, count, seed))
    with get_context("fork").Pool(os.cpu_count()) as pool:
        yield from pool.imap(examine, range(len(_faults)))


def examine(number):
    """One fault's row."""
    name, fault = _faults[number]
    try:
        happened, survived = fault(_benches)
        return Row(name, happened, survived, "ok")
    except storage.Skipped as reason:
        return Row(name, "skipped", str(reason), "skipped")
    except Exception as failure:
        return Row(name, "", f"{type(failure).__name__}: {failure}", "FAILED")


def table(rows):
    """The rows as lines of text, and a summary."""
    head = Row(*(name.replace("_", " ") for name in Row._fields))
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(3)]
    for row in [head, *rows]:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row.verdict])
    counts = {v: sum(row.verdict == v for row in rows) for v in ("ok", "FAILED", "skipped")}
    yield f"{len(rows)} faults: " + ", ".join(f"{n} {v}" for v, n in counts.items() if n)
