"""The options of a run: their limits, valid combinations, and malformed config.json files."""

import argparse
import json
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchvae as sv
from scratchvae.commands import train as command
from scratchvae.evaluation.scales import loss_scales
from scratchvae.runs.config import FORMAT, MOST_BYTES, RECIPES, Config, read_config

SPECS = {spec.name: spec for spec in fields(Config)}
# Other options that an option needs to be valid.
BESIDE = {
    "momentum": {"optimizer": "sgd"},
    "lr_decay": {"lr_schedule": "exponential"},
    "kl_warmup": {"kl_schedule": "linear"},
    "kl_cycles": {"kl_schedule": "cyclical"},
    "skips": {"model": "skip"},
    "latent": {"model": "skip"},
}
LIMITED = [
    (name, word, limit)
    for name, spec in SPECS.items()
    for word, limit in spec.metadata["limits"].items()
    if word != "choices"
]


def with_option(name, value):
    return Config(**{**BESIDE.get(name, {}), name: value})


# ---------------------------------------------------------------------- one option


@pytest.mark.parametrize(("name", "word", "limit"), LIMITED)
def test_numbers_have_limits(name, word, limit):
    """Just inside is accepted, just outside rejected, and the message names the limit."""
    kind = SPECS[name].metadata["kind"]
    up = word in ("at_least", "above")
    if kind is float:
        inside = limit if word.startswith("at") else float(np.nextafter(limit, np.inf if up else 0))
        outside = float(np.nextafter(limit, -np.inf if up else 9)) if inside == limit else limit
    else:
        inside, outside = limit, limit - 1 if up else limit + 1
    whole = {"image_shape": 3, "pictures": 1}.get(name)
    inside, outside = ([n] * whole if whole else n for n in (inside, outside))
    found = getattr(with_option(name, inside), name)
    assert found == (tuple(inside) if whole else inside)
    with pytest.raises(ValueError, match=rf"^{name} must be {word.replace('_', ' ')} .*, got"):
        with_option(name, outside)


@pytest.mark.parametrize(
    "name", [n for n, s in SPECS.items() if s.metadata["limits"].get("choices")]
)
def test_choices_are_listed(name):
    choices = SPECS[name].metadata["limits"]["choices"]
    with pytest.raises(
        ValueError, match=rf"^{name} must be one of {', '.join(choices)}; got 'zzz'"
    ):
        Config(**{name: "zzz"})


WRONG = {
    str: [1, 1.0, True, b"mlp", ["mlp"], {}],
    int: [1.0, "1", True, float("nan"), None, [1]],
    float: ["1", True, float("nan"), float("inf"), -float("inf"), 2**60, 10**5000, None, [1.0]],
    bool: [0, 1, "true", None, [True]],
    tuple: [3, "1,2,3", None, [1.0], [True], [[1]], ["1"], [10**5000], [1] * 1001, {}],
}


@pytest.mark.parametrize("name", SPECS)
def test_other_kinds_are_refused(name):
    """bool for int, NaN, huge and nested: an error that names the option, and is short."""
    spec = SPECS[name]
    for value in WRONG[spec.metadata["kind"]]:
        if (value is None and spec.default is None) or (name, value) == ("image_size", 1):
            continue
        with pytest.raises(ValueError, match=f"^{name} must be") as error:
            Config(**{name: value})
        assert len(str(error.value)) < 250


def test_numbers_of_numpy_paths_and_lists_do():
    given = {
        "lr": np.float32(0.5),
        "epochs": np.int64(3),
        "seed": np.uint8(1),
        "data_dir": Path("x"),
        "binarize": np.True_,
        "pictures": [1, 2],
        "beta": 2,
    }
    config, expected = Config(**given), (0.5, 3, 1, "x", True, (1, 2), 2.0)
    found = tuple(getattr(config, name) for name in given)
    assert found == expected and [*map(type, found)] == [*map(type, expected)]
    json.dumps(config.to_json())


def test_image_options_may_be_numbers():
    given = {"image_size": (80, 64), "background": (255, 0, 9), "value_range": (0, np.float32(0.5))}
    config = Config(**given)
    assert config.image_size == "64x80" == Config(image_size=[80, 64]).image_size
    assert (config.background, config.value_range) == ("255,0,9", "0,0.5")
    assert Config(image_size=np.int64(28)).image_size == "28"
    for image_size in (0, (28, 0), (28.5, 28), 10**9, True):
        with pytest.raises(ValueError, match=r"^image_size"):
            Config(image_size=image_size)


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        Config().lr = 2.0


# ---------------------------------------------------------------------- together


@pytest.mark.parametrize("model", sv.models.MODELS)
def test_recipes_are_those_of_the_sources(model):
    adam = {"epochs": 10, "batch_size": 128, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
    sources = {
        "celeba": {"epochs": 5, "batch_size": 128, "optimizer": "adam", "lr": 5e-3},
        "skip": {
            "epochs": 10,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 1e-3,
            "weight_decay": 1e-4,
        },
    }
    config = Config(model=model)
    for name, value in (adam | sources.get(model, {})).items():
        assert getattr(config, name) == value, name
    assert Config(model=model, lr=0.25, epochs=2).lr == 0.25
    assert set(RECIPES) == set(sources)


@pytest.mark.parametrize("model", ["mlp", "conv", "tiny", "celeba", "skip"])
def test_the_kl_weight_is_the_models_own_unless_told(model):
    shape = (1, 28, 28) if model in ("mlp", "conv", "tiny") else (3, 64, 64)
    config = Config(model=model, image_shape=shape)

    def weight(**options):
        return replace(config, **options).model_options().get("kl_weight", "the model's")

    assert weight() == "the model's"
    assert weight(kl_weight=0.5) == 0.5 and weight(beta=0.0) == 0 == weight(kl_weight=0.0)
    if model in ("celeba", "skip"):  # mean squared error + w KL = (SSE / 2 + beta KL) 2 / P
        assert weight(beta=1.536) == pytest.approx(0.00025)
        assert weight(beta=3) == loss_scales(3 * 64 * 64, beta=3.0).mean == 6 / (3 * 64 * 64)
    else:
        assert weight(beta=3) == 3


def test_beta_of_a_squared_error_needs_the_shape():
    with pytest.raises(ValueError, match="beta: the KL weight depends on the image_shape"):
        Config(model="celeba", beta=1.0).model_options()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kl_weight": 1.0, "beta": 1.0}, "kl_weight and beta set the same weight"),
        ({"image_shape": (28, 28)}, r"image_shape must be three numbers, got \(28, 28\)"),
        ({"image_shape": ()}, r"image_shape must be three numbers, got \(\)"),
        ({"model": "ae", "kl_weight": 1.0}, "kl_weight: the model ae has no kl_weight"),
        ({"model": "ae", "beta": 0.0}, "beta: the model ae has no kl_weight"),
        ({"model": "ae", "kl_schedule": "linear"}, "kl_schedule: the model ae has no kl_weight"),
        ({"model": "ae", "free_bits": 0.5}, "free_bits: the model ae has no free_bits"),
        ({"model": "skip", "latent_dim": 3}, "latent_dim: the model skip has no latent_dim"),
        ({"skips": "deep"}, "skips: the model mlp has no skips"),
        ({"model": "celeba", "latent": "learned"}, "latent: the model celeba has no latent"),
        ({"model": "celeba", "binarize": True}, "binarize: .* but celeba has a squared error"),
        ({"model": "ae", "binarize": True}, "binarize: .* but ae has a squared error"),
        ({"image_size": "0"}, "image_size: expected a number of pixels such as 64"),
        ({"background": "ultramarine"}, "background: expected white, black or R,G,B"),
        ({"value_range": "1"}, "value_range: expected BLACK,WHITE"),
        ({"momentum": 0.9}, "momentum applies only to optimizer sgd, but optimizer is adam"),
        ({"lr_decay": 0.9}, "lr_decay applies only to lr_schedule exponential, but .* constant"),
        ({"kl_warmup": 3.0}, "kl_warmup applies only to kl_schedule linear, but .* is constant"),
        (
            {"kl_cycles": 3, "kl_schedule": "linear"},
            "kl_cycles applies only to kl_schedule cyclical",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options, said):
    """An option without effect is a mistake, which must be reported at once."""
    with pytest.raises(ValueError, match=said):
        Config(**options)


@pytest.mark.parametrize("model", sv.models.MODELS)
def test_every_model_is_built_from_its_options(model):
    shape = (3, 64, 64) if model in ("celeba", "skip") else (1, 28, 28)
    special = {"skips": "deep", "latent": "learned"} if model == "skip" else {"latent_dim": 3}
    config = Config(model=model, image_shape=shape, seed=4, dtype="float64", **special)
    built = sv.models.build(model, **config.model_options())
    assert built.dtype == "float64" and built.image_shape == shape
    assert getattr(built, "skips", "deep") == "deep"
    again = sv.models.build(model, image_shape=shape, seed=4, dtype="float64", **special)
    np.testing.assert_array_equal(built.flat_value, again.flat_value)


def test_free_bits_reach_the_model():
    model = sv.models.build("mlp", **Config(free_bits=0.25).model_options())
    assert model.free_bits == 0.25
    assert "free_bits" not in Config().model_options()


# ---------------------------------------------------------------------- there and back


def values(spec):
    """The valid values of a field, as a strategy."""
    limits, kind = spec.metadata["limits"], spec.metadata["kind"]
    low = limits.get("at_least", limits.get("above"))
    high = limits.get("at_most", limits.get("below"))
    if "choices" in limits:
        strategy = st.sampled_from(limits["choices"])
    elif kind is float:
        outer = {"exclude_min": "above" in limits, "exclude_max": "below" in limits}
        strategy = st.floats(low, high, allow_infinity=False, **outer)
    elif kind is int:
        strategy = st.integers(low, high)
    elif kind is tuple:
        numbers = st.integers(low, high)
        length = 3 if spec.name == "image_shape" else 0
        strategy = st.lists(numbers, min_size=length, max_size=length or 5).map(tuple)
    else:
        texts = {
            "image_size": ["28", "64x80", "native"],
            "background": ["white", "1,2,3"],
            "value_range": ["0,1", "-1.5,4095"],
        }
        text = st.sampled_from(texts[spec.name]) if spec.name in texts else st.text()
        strategy = {bool: st.booleans(), str: text}[kind]
    return strategy | st.none() if spec.default is None else strategy


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=4)
@given(data=st.data())
def test_every_option_survives_json(name, data):
    value = data.draw(values(SPECS[name]))
    options = {**BESIDE.get(name, {}), name: value}
    if name == "model":
        options = {"model": value}
    if name == "optimizer" and value is None:
        options = {}
    config = Config(**options)
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    if value is not None:
        assert getattr(config, name) == value


def test_an_unknown_option_is_told_of_its_neighbour():
    with pytest.raises(
        ValueError, match=r"unknown option 'latent_dims' \(did you mean latent_dim\?\)"
    ):
        Config.from_json({"latent_dims": 3})
    with pytest.raises(ValueError, match=r"unknown option 'zzz'$"):
        Config.from_json({"zzz": 3})
    with pytest.raises(ValueError, match="expected a JSON object of options, got list"):
        Config.from_json([])
    with pytest.raises(ValueError) as error:
        Config.from_json({"z" * 100_000: 3})
    assert len(str(error.value)) < 150


# ---------------------------------------------------------------------- hostile files


def read(content):
    """The result of `read_config` for a file with these bytes."""
    with TemporaryDirectory() as folder:
        (path := Path(folder) / "config.json").write_bytes(content)
        return read_config(path)


GOOD = {"format": FORMAT, "options": Config().to_json(), "run": {}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON"),
        (b"null", "expected a JSON object with a format from 1 to 3"),
        (b"[1, 2]", "expected a JSON object with a format from 1 to 3"),
        (b"{}", "expected a JSON object with a format from 1 to 3"),
        (b'{"format": 4, "options": {}}', "expected a JSON object with a format from 1 to 3"),
        (b'{"format": 1}', "expected a JSON object of options, got NoneType"),
        (b'{"format": 1, "options": {}, "run": []}', "expected a JSON object in run, got list"),
        (b'{"format": 1, "options": {}, "run": {"data": null}}', "expected a dict in run: data"),
        (b'{"format": 1, "options": {"lr": NaN}}', "lr must be a number, got nan"),
        (b'{"format": 1, "options": {"lr": 1e999}}', "lr must be a number, got inf"),
        (b'{"format": 1, "options": {"seed": 1' + b"0" * 5000 + b"}}", "not JSON: Exceeds"),
        (b'{"format": 1, "options": {"seed": 1' + b"0" * 4000 + b"}}", "seed must be at most"),
        (b'{"format": 1, "options": {"lr": 1' + b"0" * 4000 + b"}}", "lr must be a number"),
        (b'{"format": 1, "options": {"model": "\xff"}}', "not JSON: 'utf-8' codec"),
        (b'{"format": 1, "options": {"model": "\\ud800"}}', "model must be one of"),
        (b'{"format": 1, "options": {"\\ud800": 1}}', "unknown option"),
        (b'{"format": 1, "options": {"": 1}}', "unknown option ''"),
        (b"[" * 100_000, "not JSON: maximum recursion depth"),
        (b'{"format":' * 100_000, "not JSON: maximum recursion depth"),
        (b" " * (MOST_BYTES + 1), f"expected at most {MOST_BYTES} bytes, found {MOST_BYTES + 1}"),
    ],
)
def test_hostile_files_are_refused_in_a_line(content, said):
    with pytest.raises(ValueError, match=rf"config\.json: .*{said}") as error:
        read(content)
    assert len(str(error.value)) < 250
    str(error.value).encode(errors="backslashreplace")


@pytest.mark.parametrize("depth", [10, 100, 500, 900, 980])
def test_nested_values_are_refused(depth):
    """As deep as JSON can be read, and almost too deep to be printed."""
    nested = "[" * depth + "1" + "]" * depth
    for name in ("lr", "model", "pictures", "image_shape", "tf32"):
        text = f'{{"format": 1, "options": {{"{name}": {nested}}}}}'
        with pytest.raises(ValueError, match=f"config.json: ({name} must be|not JSON)"):
            read(text.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_config_or_a_value_error(content):
    with pytest.raises(ValueError, match=r"config\.json: "):
        read(content)


@given(data=st.data())
def test_a_flipped_byte_is_a_config_or_a_value_error(data):
    content = bytearray(json.dumps(GOOD).encode())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        config, _ = read(bytes(content))
    except ValueError:
        return
    assert isinstance(config, Config)


def test_a_run_of_format_1_keeps_its_split():
    """Its validation images are the last training images; config.json does not say so."""
    old = {name: value for name, value in Config().to_json().items() if name != "split"}
    for number, split in ((1, "tail"), (2, "spread")):
        content = json.dumps({"format": number, "options": old}).encode()
        assert read(content)[0].split == split


def test_what_editors_leave_is_read():
    text = json.dumps(GOOD, indent=3)
    assert read(b"\xef\xbb\xbf" + text.encode())[0] == Config()  # a byte order mark
    assert read(text.replace("\n", "\r\n").encode())[0] == Config()


# ---------------------------------------------------------------------- the command line


def parser():
    top = argparse.ArgumentParser()
    command.add(top.add_subparsers(parser_class=sv.commands.options.CommandParser))
    (subparsers,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return subparsers.choices["train"]


def test_the_command_line_offers_the_options_of_a_config():
    offered = {action.dest for action in parser()._actions}
    others = {"help", "debug", "out", "resume", "config", "quiet", "json", "anyway"}
    assert offered - others == set(SPECS) - {"image_shape", "split"}


def test_help_shows_every_default():
    text = " ".join(parser().format_help().split())
    for shown in (
        "(default: 10; celeba: 5)",
        "(default: 0.001; celeba: 0.005)",
        "(default: adam; skip: adamw)",
        "random seed (default: 0)",
        "momentum of sgd (default: 0.0)",
        "(default: 0.95)",
        "(default: mnist)",
    ):
        assert shown in text, shown
    assert ": None)" not in text and ": False)" not in text and ": ())" not in text
