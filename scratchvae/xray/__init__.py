"""A training step to walk through, line by line, with the numbers of your model.

`page` gives the text of an HTML file, `show` draws it in a notebook, and `record` gives the step as
Python objects.
"""

from .notebook import show
from .page import page
from .record import Record, Step, record

__all__ = ["Record", "Step", "page", "record", "show"]
