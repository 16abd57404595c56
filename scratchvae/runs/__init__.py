"""Training runs that survive: options, folders, checkpoints, and how to continue.

In reading order: `config` has the options, `schedules` moves two of them, `trainer` is the training
between two stops, `checkpoint` makes a file of it, `run` is the folder of files, `environment` what
a run depends on besides, `session` trains and resumes, `signals` stop it, `results` end it.
"""

from .config import Config
from .run import Run, RunFolder, open_run
from .session import resume, train
from .signals import Stopped

__all__ = ["Config", "Run", "RunFolder", "Stopped", "open_run", "resume", "train"]
