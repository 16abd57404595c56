"""Training runs as folders: options, checkpoints, and how to continue.

Reading order: config, schedules, trainer, checkpoint, run, environment, session, signals, results.
"""

from .config import Config
from .run import Run, RunFolder, open_run
from .session import resume, train
from .signals import Stopped

__all__ = ["Config", "Run", "RunFolder", "Stopped", "open_run", "resume", "train"]
