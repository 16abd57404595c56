"""What README.md says is so."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    rows = capsys.readouterr().out.splitlines()[3:]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [(n, "ok") for n in "xwb"]


def test_the_paths_exist():
    named = re.findall(r"`((?:scratchvae|kernels|tests|examples|benchmarks|docs)/[\w./]*)`", README)
    named += re.findall(r"\]\(([\w./]+)\)", README)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_expected_numbers_meet_the_targets():
    for model, target in (("mlp", 106.0), ("conv", 100.5), ("tiny", 135.5)):
        (row,) = re.findall(rf"^\| `{model}` \|[^|]*\|(.*)\|$", README, re.MULTILINE)
        numbers = [float(cell) for cell in row.split("|")]
        assert len(numbers) == 3 and max(numbers) <= target
