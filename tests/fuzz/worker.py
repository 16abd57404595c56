"""`python worker.py PARSER SEED START STOP [FILE ...]`: the process that reads, and that may die.

Gives the inputs with these numbers, or these of the files, to the parser. After each it prints a
line of JSON: verdict ("accepted", "refused" or "surprise"), milliseconds of CPU, the process's
largest memory so far in megabytes, and what the surprise was. Where the system ends the process,
the next input is to blame: an input that hangs ends it by SIGALRM, which no `except` can swallow.
The address space is limited, so that a bomb is a MemoryError, and warnings are errors.
"""

import json
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from inputs import make_input  # noqa: E402
from parsers import PARSERS  # noqa: E402

SECONDS = 10  # by the clock, for one input: then it hangs


def main(name, seed, start, stop, *files):
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        read = PARSERS[name].parser(Path(folder))
        for content in PARSERS[name].seeds():  # what is imported or compiled late is there now
            path.write_bytes(content)
            read(path)
        before = _megabytes("VmRSS")
        limit = int((_megabytes("VmSize") + PARSERS[name].MEGABYTES) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in range(int(start), int(stop)):
            path.write_bytes(
                Path(files[number]).read_bytes() if files else make_input(name, int(seed), number)
            )
            verdict, milliseconds, reason = _judge(read, path)
            print(
                json.dumps([verdict, milliseconds, _megabytes("VmHWM") - before, reason]),
                flush=True,
            )


def _judge(read, path):
    signal.alarm(SECONDS)
    start, reason = time.process_time(), ""
    try:
        verdict = "accepted" if read(path) else "refused"
    except BaseException as error:
        verdict, reason = "surprise", f"{type(error).__name__}: {error}"[:300]
    milliseconds = 1000 * (time.process_time() - start)
    signal.alarm(0)
    return verdict, milliseconds, reason


def _megabytes(field):
    """A figure of the system about this process. (ru_maxrss would count its parent's, too.)"""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
