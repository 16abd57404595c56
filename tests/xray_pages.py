"""Reading an X-ray page in Python, as its scripts do."""

import base64
import json
import re
import zlib

import numpy as np


def data_of(html):
    """What page.py wrote for the scripts, beside the packed numbers."""
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])


def unpacked(text, dtype, shape):
    """The inverse of `packed`: byte 0 of each number, byte 1, ..., deflated, in base64."""
    dtype = np.dtype(dtype)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text), -15), "uint8")
    return planes.reshape(dtype.itemsize, -1).T.copy().view(dtype).reshape(shape)
