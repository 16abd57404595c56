"""matplotlib, imported without $MPLBACKEND: import it from here only.

At its first import matplotlib reads this variable, and refuses a name that it does not know. Our
pictures go to files, through `Figure.savefig` and matplotlib's Agg canvas: they need no backend and
no pyplot. The variable stays as it is, also for a pyplot that you import later.
"""

import os
import sys
from contextlib import suppress

_first, _chosen = "matplotlib" not in sys.modules, os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
    from matplotlib.colors import hsv_to_rgb, to_rgb
    from matplotlib.figure import Figure
finally:
    if _chosen is not None:
        os.environ["MPLBACKEND"] = _chosen
if _first and _chosen:
    with suppress(ValueError):  # no backend has this name
        matplotlib.rcParams["backend"] = _chosen

FONTS = f"{matplotlib.get_data_path()}/fonts/ttf"

__all__ = ["FONTS", "Figure", "hsv_to_rgb", "to_rgb"]
