"""Follow CONTRIBUTING.md exactly: add GELU to a copy of the repository, run the commands, count."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def block(after):
    """The indented block that follows these words, without its indentation."""
    rest = TEXT[TEXT.index(after) + len(after) :]
    lines = re.match(r"\n\n((?:    .*\n|\n)+)", rest)[1].rstrip().split("\n")
    return "\n".join(line[4:] for line in lines) + "\n"


def add_gelu(folder):
    """Do steps 1 to 3; return the new or changed files with their numbers of new lines."""
    files = {
        "scratchvae/ops/gelu.py": block("Create `scratchvae/ops/gelu.py`:"),
        "tests/ops/test_gelu.py": block("the argument `engine` runs it once on every engine:"),
    }
    for name, text in files.items():
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    layers = folder / "scratchvae/layers.py"
    text, imports = layers.read_text(), block("`scratchvae/layers.py`, add to the imports")
    last = [*re.finditer(r"^from \.ops\..*\n", text, re.M)][-1].end()
    added = block("and at the end")
    layers.write_text(f"{text[:last]}{imports}{text[last:]}\n\n{added}")
    counts = {name: text.count("\n") for name, text in files.items()}
    return counts | {"scratchvae/layers.py": (imports + "\n\n" + added).count("\n")}


@pytest.mark.slow
@pytest.mark.long
def test_adding_gelu(tmp_path, capsys):
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    for name in names:
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    for compiled in ROOT.glob("kernels/cpu/**/__pycache__/*.nbc"):  # otherwise compiled again
        copied = tmp_path / compiled.relative_to(ROOT)
        copied.parent.mkdir(exist_ok=True)
        shutil.copy(compiled, copied)
    counts = add_gelu(tmp_path)
    with capsys.disabled():
        print(f"\nGELU: {len(counts)} files, {sum(counts.values())} lines: {counts}")
    assert len(counts) <= 3 and sum(counts.values()) <= 80

    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*command, succeeds=True):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout

    commands = block("the gradient against central differences with a random dy. Then run")
    check, tests = commands.splitlines()
    assert "2 of 2 gradients right" in run(*check.split())
    found = run(*tests.split(), "-rs")
    assert " passed" in found and "kernels/cuda/gelu.py is missing" in found
    assert "no function" not in run("scratchvae", "kernels")
    assert "gelu" in run("scratchvae", "kernels")

    # The commands of the page find a mistake in each of the three files.
    for name, right, wrong in [
        ("scratchvae/ops/gelu.py", "(1 + 3 * 0.044715", "(1 + 2 * 0.044715"),
        ("scratchvae/layers.py", "return gelu_backward", "return 2 * gelu_backward"),
        ("tests/ops/test_gelu.py", 'check_op("gelu"', 'print("gelu"'),
    ]:
        text = (tmp_path / name).read_text()
        assert right in text
        (tmp_path / name).write_text(text.replace(right, wrong))
        found = run(*tests.split(), "-x", succeeds=False)
        assert " failed" in found
        (tmp_path / name).write_text(text)
    assert "call check_op('gelu', ...)" in found

    # After GELU is removed, no test needs it.
    for name in ("scratchvae/ops/gelu.py", "tests/ops/test_gelu.py"):
        (tmp_path / name).unlink()
    shutil.copy(ROOT / "scratchvae/layers.py", tmp_path / "scratchvae/layers.py")
    run("pytest", "tests/ops/test_every_op.py")
