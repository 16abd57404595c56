"""config.json of a run: a table of options, each of which may be any JSON value."""

import json
from functools import cache

import mutating

from scratchvae.runs import Config, RunFolder

MEGABYTES = 100
ODD = (
    *(*mutating.ODD, "mlp", "../x", "images:", "images:/dev/zero", "constant", "cyclical"),
    *([1, 28, 28], [0, 0, 0], [-1], [2**63], [1] * 1001, ["1"]),
)


@cache
def seeds():
    skip, patient = (
        Config(model="skip", image_shape=(3, 64, 64)),
        Config(patience=2, validation=0.1),
    )
    run = {"data": {"name": "mnist"}, "environment": {"threads": 2}}
    tables = [
        {"format": 1, "options": config.to_json(), "run": run}
        for config in (Config(), skip, patient)
    ]
    return [json.dumps(table, indent=1).encode() for table in tables]


def build(random):
    """A valid file with some values, or parts of its text, replaced."""
    table = json.loads(random.choice(seeds()))
    for _ in range(random.choice((0, 1, 1, 2, 4, 10))):
        mutating.edit(table, random, ODD)
    return random.choice(TEXTS)(json.dumps(table).encode(), random)


TEXTS = (
    *(lambda text, random: text,) * 8,
    lambda text, random: mutating.mutated(text, random),
    lambda text, random: text.replace(b"1", b"9" * random.choice((20, 400, 5000)), 1),
    lambda text, random: b"[" * random.choice((10, 1000, 50_000)),
    lambda text, random: b'{"format": 1, "options": ' * random.choice((1, 900, 2500)),
    lambda text, random: text.decode().encode(random.choice(("utf-16", "utf-32", "utf-8-sig"))),
    lambda text, random: text.replace(b'"', b'"\xff', 1),
    lambda text, random: text[:-1] + b"," + text[1:],  # every key twice
)


def parser(folder):
    """A function of a file: True if it is read, False if it is rejected with a message."""
    run = RunFolder(folder / "run")
    run.make()

    def read(path):
        run.config.write_bytes(path.read_bytes())
        try:
            config, facts = run.read_config()
        except ValueError as error:
            assert str(error).startswith(f"{run.config}: "), error
            assert len(str(error)) < 1000, error
            return False
        assert isinstance(facts, dict)
        assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
        return True

    return read
