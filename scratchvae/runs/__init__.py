"""Training runs that survive: options, folders, checkpoints, and how to go on.

In reading order: `config` has the options (`option` says what they may be), `trainer` the training
between two stops (`images` divides the data, `state` is what
the next step depends on), `snapshot` makes a file of it, `folder` keeps the files, `session` trains
and goes on (`preparing` comes before, `stopping` hears the signals, `sentences` is what is said),
`ending` leaves the results, `opening` reads them.
"""

from .config import Config
from .opening import Run, open_run
from .run import RunFolder
from .session import resume, train
from .signals import Stopped

__all__ = ["Config", "Run", "RunFolder", "Stopped", "open_run", "resume", "train"]
