"""`python worker.py PARSER SEED START STOP [FILE ...]`: the process that parses, and that may die.

Gives the inputs with these numbers, or the files with these numbers, to the parser. After each it
prints a line of JSON: verdict ("accepted", "refused" or "surprise"), milliseconds of CPU, the peak
memory so far in megabytes, and a description of the surprise. If the system ends the process, the
next input was the cause: an input that hangs ends it by SIGALRM, which `except` cannot catch. The
address space is limited, so that a bomb gives a MemoryError, and warnings are errors.
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

SECONDS = 10  # of wall time for one input; after that it counts as hanging


def main(name, seed, start, stop, *files):
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        read = PARSERS[name].parser(Path(folder))
        for content in PARSERS[name].seeds():  # so that late imports and compilations happen now
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
    """A number from /proc about this process. (ru_maxrss would include its parent's memory.)"""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+) kB", status)[1]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
