"""Input number i of a parser: always the same bytes for the same seed."""

from random import Random

from mutating import MAX_BYTES, mutated
from parsers import PARSERS


def make_input(name, seed, number):
    """Bytes for the parser `name`: a third are damaged valid files, the others made by `build`."""
    random, parser = Random(f"{name} {seed} {number}"), PARSERS[name]
    if random.random() < 1 / 3:
        return mutated(random.choice(parser.seeds()), random, parser.seeds())
    content = parser.build(random)
    if random.random() < 0.2:
        content = mutated(content, random, parser.seeds())
    return content[:MAX_BYTES]
