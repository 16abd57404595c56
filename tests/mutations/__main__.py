"""`python tests/mutations [NAME ...]`: plant each fault of the gallery, and see who finds it.

Prints a table: for each fault which judges see it (x), do not (-) or have nothing to say (blank;
see judges.py), and the test that kills it. Exit status 1 if a fault survives its test.
"""

import argparse
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from gallery import GALLERY, ROOMS  # noqa: E402
from judges import JUDGES, ask  # noqa: E402
from planting import planted  # noqa: E402
from running import ONLY_CRASHES, run_tests  # noqa: E402

MARK = {True: "x", False: "-", None: " "}


def main(arguments=None):
    parser = argparse.ArgumentParser("python tests/mutations", description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults; default: all")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="the table for the documentation")
    form.add_argument("--json", action="store_true", help="one record for each fault")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in GALLERY]:
        parser.error(f"no such fault: {', '.join(unknown)}")
    faults = [GALLERY[name] for name in asked.names or GALLERY]

    if trouble := without_faults(faults):
        print(trouble, file=sys.stderr)
        return 2
    results = {fault.name: examine(fault) for fault in faults}
    if asked.json:
        print(json.dumps(results))
    else:
        print("\n".join((markdown if asked.markdown else table)(results)))
    return 0 if all(result["killed"] for result in results.values()) else 1


def without_faults(faults):
    """A kill means something only if the same tests and judges are content without the fault."""
    run = run_tests(*dict.fromkeys(fault.killed_by for fault in faults))
    if run.trouble or run.failed:
        return f"without any fault: {run.failed} {run.messages} {run.trouble}"
    for subject in dict.fromkeys(fault.subject for fault in faults):
        for judge in JUDGES:
            if ask(judge, subject):
                return f"without any fault the judge {judge!r} sees one in {subject}"
    return ""


def examine(fault):
    start = time.perf_counter()
    with planted(fault):
        run = run_tests(fault.killed_by)
        seen = {judge: ask(judge, fault.subject) for judge in JUDGES}
    why = run.trouble or "".join(run.messages[:1])
    killed = bool(run.failed) and not run.trouble and not why.startswith(ONLY_CRASHES)
    seconds = time.perf_counter() - start
    return {"killed": killed, "why": why, "seen": seen, "seconds": round(seconds, 2)}


def table(results):
    wide = max(map(len, results))
    yield f"{'fault':{wide}}  {'  '.join(JUDGES)}  killed by"
    for room, faults in rooms(results):
        yield f"\n{room}"
        for fault in faults:
            result = results[fault.name]
            marks = "  ".join(
                f"{MARK[seen]:^{len(judge)}}" for judge, seen in result["seen"].items()
            )
            by = fault.killed_by.removeprefix("tests/") if result["killed"] else "SURVIVES"
            yield f"{fault.name:{wide}}  {marks}  {by}"
            if not result["killed"]:
                yield f"    {fault.killed_by}: {result['why'] or 'passes'}"
    yield f"\n{total(results)}"


def markdown(results):
    for room, faults in rooms(results):
        yield f"\n### {room[0].upper()}{room[1:]}\n"
        yield f"| the mistake | {' | '.join(JUDGES)} | the test that finds it |"
        yield "|---" * (len(JUDGES) + 2) + "|"
        for fault in faults:
            result = results[fault.name]
            marks = " | ".join(MARK[seen] for seen in result["seen"].values())
            where = f"`{fault.module.removeprefix('scratchvae.')}`"
            by = fault.killed_by.rpartition("::")[2].partition("[")[0]
            by = f"`{by}`" if result["killed"] else "none"
            yield f"| {where}: {fault.mistake} | {marks} | {by} |"
    yield f"\n{total(results)}"


def rooms(results):
    for room, faults in ROOMS.items():
        if chosen := [fault for fault in faults if fault.name in results]:
            yield room, chosen


def total(results):
    killed = sum(result["killed"] for result in results.values())
    return f"{killed} of {len(results)} faults killed"


if __name__ == "__main__":
    sys.exit(main())
