"""CelebA's partition list: names that lead out of the folder, and invalid lines."""

from functools import cache

from mutating import mutated

from scratchvae.data.images import _read_partition

MEGABYTES = 100
NAMES = (
    *(
        "000001.jpg",
        "a.png",
        "\u00e9t\u00e9.jpg",
        "\u5199.jpg",
        "1",
        "_",
        "a..b",
        "a" * 300 + ".jpg",
    ),
    *("../a.jpg", "..", ".", "/etc/passwd", "a/../../b.jpg", "..\\a.jpg", "C:a.jpg", "C:\\a.jpg"),
    *("\\\\host\\a.jpg", "~/a.jpg", "a.jpg\0.png", "\0", ".hidden.jpg", "-rf", "$HOME", "%2e%2f"),
    *("\u2024\u2024/a.jpg", "a\u2215b.jpg", "a\u202egpj.exe", "a" * 5000, "\ufeffa.jpg", ""),
)
PARTS = ("0", "1", "2", "0", "1", "2", "3", "-1", "00", "\u0661", "0.0", "1e0", "", "0 0", "\uff10")
SPACES = (" ", " ", " ", "  ", "\t", "\u00a0", "\x0b", "\x1c", "\x85", "\u2028", "", ",")
ENDS = ("\n", "\n", "\n", "\r\n", "\r", "\n\n", "", "\0\n", "\x0c\n", "\x1e")


@cache
def seeds():
    good = "".join(f"{i:06}.jpg {i % 3}\n" for i in range(1, 9))
    return [good.encode(), b"\xef\xbb\xbf" + good.encode(), good.replace("\n", "\r\n").encode()]


def build(random):
    """Lines, each of which may be wrong in a different way."""
    wicked = random.choice((0.0, 0.05, 0.5))
    lines = []
    for number in range(random.randrange(1, 12)):
        name, space, part, end = f"{number:06}.jpg", " ", str(number % 3), "\n"
        if random.random() < wicked:
            name, end = random.choice(NAMES), random.choice(ENDS)
            space, part = random.choice(SPACES), random.choice(PARTS)
        lines.append(name + space + part + end)
    codec = random.choice(("utf-8",) * 5 + ("utf-8-sig", "utf-16", "utf-32"))
    content = "".join(lines).encode(codec, "replace") * random.choice((1, 1, 1, 2))
    return content if random.random() < 0.5 else mutated(content, random, seeds())


def parser(folder):
    """A function of a file: True if it is read, False if it is rejected with a message."""

    def read(path):
        try:
            parts = _read_partition(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}, line ") and len(str(error)) < 1000, error
            return False
        names = [name for part in parts for name in part]
        assert len(parts) == 3 and len(names) == len(set(names))
        for name in names:  # each must be a file directly in the folder, on Windows too
            assert name not in (".", "..") and not set(name) & set('/\\:\0\n"*?<>|'), name
        return True

    return read
