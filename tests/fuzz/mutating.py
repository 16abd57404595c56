"""Damage to bytes of any kind, as by a failing disk or an attacker; and to JSON.

A mutation is a function of the content, a random generator and the seeds of the format (valid files
to splice with), and returns other content. Mutations for one format are in fuzz_idx.py,
fuzz_image.py and so on.
"""

from copy import deepcopy

INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x20, 0x22, 0x2F, 0x2E)
INTEGERS = (0, 1, 2, 2**7, 2**8, 2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
LONGER_INTEGERS = (*INTEGERS, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
MAX_BYTES = 1 << 16  # of an input, so that it can be kept in the corpus


def flip_a_bit(content, random, seeds):
    at = random.randrange(len(content) or 1)
    flipped = bytes([value ^ 1 << random.randrange(8) for value in content[at : at + 1]])
    return content[:at] + flipped + content[at + 1 :]


def set_a_byte(content, random, seeds):
    at = random.randrange(len(content) or 1)
    return content[:at] + bytes([random.choice(INTERESTING)]) + content[at + 1 :]


def set_an_integer(content, random, seeds):
    width, order = random.choice((2, 4, 4, 8)), random.choice(("big", "little"))
    value = random.choice(LONGER_INTEGERS) % 256**width
    at = random.randrange(max(1, len(content) - width))
    return content[:at] + value.to_bytes(width, order) + content[at + width :]


def truncate(content, random, seeds):
    return content[: random.randrange(len(content) + 1)]


def extend(content, random, seeds):
    return content + random.choice((random.randbytes(random.randrange(1, 40)), bytes(4096)))


def cut_out(content, random, seeds):
    start = random.randrange(len(content) or 1)
    return content[:start] + content[start + random.randrange(1, 20) :]


def repeat_a_piece(content, random, seeds):
    start = random.randrange(len(content) or 1)
    end = start + random.randrange(1, 40)
    return content[:end] + content[start:end] * random.choice((1, 1, 2, 100)) + content[end:]


def splice(content, random, seeds):
    other = random.choice(seeds)
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other)) :]


MUTATIONS = (
    *(flip_a_bit, flip_a_bit, set_a_byte, set_a_byte, set_an_integer),
    *(truncate, extend, cut_out, repeat_a_piece, splice),
)


def mutated(content, random, seeds=()):
    """`content` with no, one or several mutations."""
    for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
        choices = MUTATIONS if seeds else MUTATIONS[:-1]
        content = random.choice(choices)(content, random, seeds)
    return content[:MAX_BYTES]


ODD = (
    *(None, True, False, -1, 0, 1, 7, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), 1e400),
    *("", "x", "\0", "\ud800", "x" * 2000, [], {}, [[[]]], [1.5], {"a": 1}, [{"a": "b"}]),
)
NAMES = ("", "x", "\0", "__class__", "self", "a" * 300, "\u202e", "../x", "x\n")


def edit(tree, random, odd=ODD, of_names=None):
    """Change something in a dict of JSON, in place: replace, remove, rename or add an entry. New
    values are among `odd`, LONGER_INTEGERS, or those in `of_names` for an entry of this name."""
    node, key = tree, None
    while node:
        key = random.choice([*node]) if isinstance(node, dict) else random.randrange(len(node))
        if not isinstance(node[key], dict | list) or not node[key] or random.random() < 0.3:
            break
        node = node[key]
    what = random.choice(("replace",) * 6 + ("remove", "rename", "add"))
    value = random.choice((*odd, *LONGER_INTEGERS))
    if of_names and key in of_names and random.random() < 0.7:
        value = random.choice(of_names[key])
    if what == "replace" and node:
        node[key] = deepcopy(value)
    elif what == "remove" and node:
        del node[key]
    elif isinstance(node, dict):
        name = random.choice((*NAMES, *tree))
        node[name] = node.pop(key) if what == "rename" and node else deepcopy(value)
