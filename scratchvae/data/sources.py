"""Where the data sets live on the internet, and how to know that what came is what was meant.

Nothing here but facts: addresses change, and this is the one file to edit when they do. A hash
decides whether a file is the right one, so that a mirror needs no trust, only a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes
    ----------
    mirrors : tuple of str
        Addresses that hold the same files, the best one first, each with its final slash.
    hashes : mapping of str to str
        Pooch's hash of each file, by file name: ``"sha256:..."`` or ``"md5:..."``.
    unpacked : mapping of str to str
        The same of what is in the file, where it is known: people unpack files, and compress them
        anew.
    """

    mirrors: tuple[str, ...]
    hashes: Mapping[str, str]
    unpacked: Mapping[str, str] = field(default_factory=dict)


# The field of `Dataset` that each file becomes.
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
SOURCES = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        hashes={
            FILES["train_images"]: "sha256:"
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            FILES["train_labels"]: "sha256:"
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            FILES["test_images"]: "sha256:"
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            FILES["test_labels"]: "sha256:"
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        unpacked={
            FILES["train_images"]: "sha256:"
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            FILES["train_labels"]: "sha256:"
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            FILES["test_images"]: "sha256:"
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            FILES["test_labels"]: "sha256:"
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Source(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        hashes={
            FILES["train_images"]: "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            FILES["train_labels"]: "md5:25c81989df183df01b3e8a0aad5dffbe",
            FILES["test_images"]: "md5:bef4ecab320f06d8554ea6380940ec79",
            FILES["test_labels"]: "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
