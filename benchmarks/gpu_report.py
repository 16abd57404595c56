"""What gpu_step.py prints: facts, rows, whether the goals are met; and ten epochs as a user runs
them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from gpu_pair import Result
from measure import Problem, run_python

from scratchvae.data.mnist import find_files

ROOT = Path(__file__).resolve().parents[1]
GOALS = {"eager": 0.5, "graph": 1.0}  # our graph over PyTorch's
GOAL_MODELS = ("mlp", "conv", "tiny", "celeba")  # at batch 128
GOAL_SECONDS, GOAL_ELBO = 10.0, 100.5
GOAL_EPOCHS = f"under {GOAL_SECONDS:g} s, test -ELBO at most {GOAL_ELBO:g}"
OURS_ONLY_LINEAR = "ours: products of linear layers alone; PyTorch: these and all convolutions"
KINDS = ("eager", "compile", "graph")


def fact_lines(facts: dict[str, str], peaks: dict[str, float]) -> str:
    """Everything that the numbers depend on; the clocks were read just after the peaks."""
    known = ", ".join(f"{name} {value}" for name, value in facts.items())
    return (
        f"{known}\n4096 x 4096 product {peaks['sgemm']:.0f} GFLOP/s in float32, "
        f"{peaks['sgemm TF32']:.0f} with TF32; copy {peaks['copy']:.0f} GB/s, read and written"
    )


def heading(tf32: bool, steps: int, turns: int, with_torch: bool) -> str:
    setting = f"on ({OURS_ONLY_LINEAR})" if tf32 else "off, on both sides"
    text = f"\nTF32 {setting}; ms a step: median (quartiles) of {turns} turns of {steps} steps\n"
    text += f"{'model':6} {'batch':>5} {'ours eager':>21} {'ours graph':>21}"
    if with_torch:
        text += f" {'PyTorch eager':>21} {'which':19} {'compile':>21} {'graph':>21} {'which':13}"
        text += f" {'/eager':>6} {'/graph':>6}"
    return f"{text} {'GFLOP/s':>8} {'of sgemm':>8} {'GB/s':>7} {'of copy':>7}"


def row(result: Result, peaks: dict[str, float]) -> str:
    text = f"{result.job.model:6} {result.job.batch_size:5}"
    text += f" {time_of(result, 'ours eager')} {time_of(result, 'ours graph')}"
    if result.errors or result.failed:
        eager, compiled, graph = map(result.best, KINDS)
        text += f" {time_of(result, eager)} {which(eager):19} {time_of(result, compiled)}"
        text += f" {time_of(result, graph)} {which(graph):13}"
        for kind in GOALS:
            ratio = result.ratio(kind)
            text += f" {'-' if ratio is None else format(ratio, '.2f'):>6}"
    seconds = result.spread("ours graph").median / 1e3
    gflops, gbytes = result.gflop / seconds, result.gbytes / seconds
    text += f" {gflops:8.0f} {gflops / peaks['sgemm']:8.0%}"
    text += f" {gbytes:7.0f} {gbytes / peaks['copy']:7.0%}"
    return text + "".join(f"\n  {name}: {why}" for name, why in result.failed.items())


def time_of(result: Result, run: str | None) -> str:
    if run is None:
        return f"{'-':>21}"
    low, median, high = result.spread(run)
    return f"{f'{median:.3f} ({low:.3f}-{high:.3f})':>21}"


def which(run: str | None) -> str:
    """What comes after the kind."""
    return (run or "").partition(" ")[2]


def goal_lines(results: list[Result]) -> str:
    """The goals at batch 128, model by model; and how far the two sides were from each other."""
    lines = []
    for kind, goal in GOALS.items():
        for tf32 in (False, True):
            ratios = {
                r.job.model: ratio
                for r in results
                if (r.job.model in GOAL_MODELS and r.job.batch_size == 128 and r.tf32 == tf32)
                and (ratio := r.ratio(kind)) is not None
            }
            if ratios:
                verdict = "met" if max(ratios.values()) <= goal else "missed"
                found = ", ".join(f"{model} {ratio:.2f}" for model, ratio in ratios.items())
                setting = "on" if tf32 else "off"
                lines.append(
                    f"goal: our graph / PyTorch {kind} <= {goal}, TF32 {setting}: "
                    f"{verdict} ({found})"
                )
    errors = [error for result in results for error in result.errors.values()]
    if errors:
        loss, gradient = (max(column) for column in zip(*errors, strict=True))
        lines.append(
            f"the same computation: losses differ by {loss:.0e}, gradients by {gradient:.0e}, "
            "at most"
        )
    return "".join(f"\n{line}" for line in lines) + "\n" * bool(lines)


# --- Ten epochs ----------------------------------------------------------------------------------


def epochs(data_dir: Path | None, count: int = 10, engine: str = "cuda") -> str:
    """The line about ten epochs of `conv` on MNIST: from the start of Python to its end."""
    folder = mnist_folder(data_dir)
    if folder is None:
        return (
            f"{count} epochs of conv: left out, no MNIST in --data-dir, $SCRATCHVAE_DATA or shared/"
        )
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        try:
            run_python(
                str(ROOT / "examples/mnist_vae.py"), "--model", "conv", "--engine", engine,
                "--epochs", str(count), "--data-dir", str(folder), "--out", out,
            )  # fmt: skip
        except Problem as problem:
            return f"{count} epochs of conv: failed, {problem}"
        seconds = time.perf_counter() - start
        elbo = json.loads((Path(out) / "metrics.json").read_text())["test_neg_elbo"]
    verdict = "met" if seconds < GOAL_SECONDS and elbo <= GOAL_ELBO else "missed"
    return (
        f"{count} epochs of conv on MNIST: {seconds:.1f} s with all that a first run compiles, "
        f"test -ELBO {elbo:.2f}; goal: {GOAL_EPOCHS}: {verdict}"
    )


def mnist_folder(data_dir: Path | None) -> Path | None:
    """A folder that holds MNIST, without a download."""
    named = [data_dir, os.environ.get("SCRATCHVAE_DATA")]
    here = [ROOT / "shared/data/mnist", ROOT.parent / "shared/data/mnist"]
    for folder in [Path(name) for name in named if name] or here:
        try:
            find_files("mnist", folder)
        except OSError:
            continue
        return folder
    return None
