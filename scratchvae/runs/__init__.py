"""Training runs as folders: options, checkpoints, and how to continue.

Reading order: config, schedules, data, trainer, checkpoint, run, environment, session, signals,
results. `train` and `resume` do everything. For scripts with their own loop there are `begin`,
`save_results`, `errors_in_one_line`, `progress`, and `tell`, a `print` that never fails.
"""

from ..output import errors_in_one_line, progress, tell
from .config import Config
from .results import begin, save_results
from .run import Run, RunFolder, open_run
from .session import resume, train
from .signals import Stopped

__all__ = [
    "Config",
    "Run",
    "RunFolder",
    "Stopped",
    "begin",
    "errors_in_one_line",
    "open_run",
    "progress",
    "resume",
    "save_results",
    "tell",
    "train",
]
