"""Plant each fault, run its test and the judges, and write the results as a table."""

import time

from judges import JUDGES, ask
from planting import planted
from running import ONLY_CRASHES, run_tests

from scratchvae.exercises.gallery import ROOMS

MARK = {True: "x", False: "-", None: " "}


def without_faults(faults):
    """Run the same tests and judges without faults: they must pass, or a kill means nothing."""
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
            yield f"| `{fault.name}`, {where}: {fault.mistake} | {marks} | {by} |"
    yield f"\n{total(results)}"


def rooms(results):
    for room, faults in ROOMS.items():
        if chosen := [fault for fault in faults if fault.name in results]:
            yield room, chosen


def total(results):
    killed = sum(result["killed"] for result in results.values())
    return f"{killed} of {len(results)} faults killed"
