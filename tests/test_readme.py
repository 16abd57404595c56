"""What README.md says is so."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    errors = eval(capsys.readouterr().out)
    assert len(errors) == 3 and max(errors) < 1e-7


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
