"""`scratchvae train MODEL` starts a run in a folder; `train --resume RUN` continues it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..models import MODELS
from ..output import note, tell, warn
from ..runs.config import IMAGE_OPTIONS, RECIPE, RECIPES, Config, read_config
from ..runs.session import MAY_CHANGE, resume, train
from ..runs.signals import Stopped
from .options import SPECS, add_command, config_option, flag, option, path, show

# Groups of options in --help, by the first option of each.
GROUPS = {
    "data": "data and model",
    "epochs": "training",
    "optimizer": "optimizer",
    "kl_weight": "objective",
    "validation": "validation and checkpoints",
}
IMAGES = {"data", *IMAGE_OPTIONS}
NOT_ASKED = ("model", "image_shape", "split")  # the model is positional; the others follow


def add(commands: Any) -> None:
    """Add the parser, an option for each field of `Config`."""
    parser = add_command(
        commands, "train", run, "train a model, or continue a run that was stopped",
        ". Ctrl-C finishes the current step, saves everything and prints how to continue.",
        "scratchvae train mlp --out runs/digits",
        "scratchvae train conv --data fashion-mnist --latent-dim 10 --epochs 30 "
        "--lr-schedule cosine",
        "scratchvae train conv --binarize --validation 0.1 --patience 5",
        "scratchvae train celeba --data images:photos --kl-schedule linear --kl-warmup 3",
        "scratchvae train --resume runs/digits",
        "scratchvae train --config runs/digits/config.json --out runs/again",
    )  # fmt: skip
    known = f"model to train: {', '.join(MODELS)}"
    option(parser, "model MODEL", tuple(MODELS), known, nargs="?")
    option(parser, "--out RUN", path, "folder of the run", shown="runs/MODEL")
    option(parser, "--resume RUN", path, "continue the run in this folder")
    option(parser, "--config FILE", path, "take the options from this config.json")
    option(parser, "--quiet", bool, "print only warnings and errors")
    anyway = (
        "continue or repeat a run although its data set has changed or its best weights are lost"
    )
    option(parser, "--anyway", bool, anyway)
    group: Any = parser
    for name in SPECS:
        if name in GROUPS:
            group = parser.add_argument_group(GROUPS[name])
        if name not in NOT_ASKED:
            config_option(group, name, shown=default_of(name))


def default_of(name: str) -> str | None:
    """The default of an option, and those of the models with another one."""
    default = RECIPE.get(name, SPECS[name].default)
    if default is None or default is False or default == ():
        return None
    others = [f"{model}: {recipe[name]}" for model, recipe in RECIPES.items() if name in recipe]
    return "; ".join([str(default), *others])


def run(args: argparse.Namespace) -> int:
    ways = (args.model is not None) + (args.resume is not None) + (args.config is not None)
    if ways != 1:
        only = ", only one of them" if ways else ""
        args.parser.error(f"give a MODEL to train, --resume RUN or --config FILE{only}")
    talk = not (args.quiet or args.json)
    report = tell if talk else lambda _: None
    args.saved = True  # whatever happens to the output, the work is in the run
    given = {name: value for name in SPECS if (value := getattr(args, name, None)) is not None}
    try:
        if args.resume is not None:
            others = sorted(given.keys() - MAY_CHANGE) + ["out"] * (args.out is not None)
            if others:
                args.parser.error(
                    f"{flag(others[0])} cannot be used with --resume: a run keeps its options, "
                    f"except for {', '.join(map(flag, sorted(MAY_CHANGE)))}"
                )
            folder = args.resume
            metrics = resume(folder, report, talk, args.anyway, **given)
        else:
            options, trained_on = {}, None
            if args.config:
                before, about = read_config(args.config)
                options = before.to_json()
                if not given.keys() & IMAGES:  # options may ask for other images
                    trained_on = about["data"]
                if about.get("by_script"):  # it may have trained on only some of them
                    args.anyway = True
            # They follow from the data set, which `given` may change.
            follow = {"image_shape": None} | ({"split": "spread"} if "data" in given else {})
            config = Config(**options | follow | given)
            folder = args.out or Path("runs") / config.model
            metrics = train(config, None, folder, report, talk, trained_on, args.anyway)
    except Stopped as stopped:
        note(f"{args.parser.prog}: {stopped}")
        return 128 + stopped.signal
    if args.json:
        show(args, metrics, "")
    if (warning := (metrics.get("test") or {}).get("warning")) and not args.quiet:
        warn(warning)
    report(f"done: weights, metrics.json and pictures are in {folder}")
    return 0
