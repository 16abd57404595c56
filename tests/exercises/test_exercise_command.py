"""`scratchvae exercise` and `scratchvae check FILE`: whatever the file has, one clear sentence.

Exit status: 0 right, 1 wrong, 2 cannot be judged.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvae.__main__ import main
from scratchvae.exercises.course import COURSE

BODY = "    return dy * (y > 0)\n"
RIGHT = COURSE["relu"].written(f"    (y,) = cache\n{BODY}")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    """The exit status, what is printed, and the last line of stderr."""
    try:
        code = main([*arguments])
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, (err.splitlines() or [""])[-1]


def check(capsys, text, name="solution.py", *options):
    content = text if isinstance(text, bytes) else text.encode()
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(content)
    return run(capsys, "check", name, *options)


def returning(expression):
    return RIGHT.replace(BODY, f"    import numpy as np\n    return {expression}\n")


RIGHT_FILES = {
    "BOM": b"\xef\xbb\xbf" + RIGHT.encode(),
    "CRLF": RIGHT.replace("\n", "\r\n"),
    "without its docstring": RIGHT.replace('    """dx."""\n', ""),
    "other names": RIGHT.replace("dy, cache):\n    \"\"\"dx.\"\"\"", 'd, c):\n    """dx."""')
    .replace("(y,) = cache", "(y,) = c").replace(BODY, "    return d * (y > 0)\n"),
    "helpers": RIGHT.replace(BODY, "    return helper(dy, y)\n")
    + "import functools\n\n\nclass A:\n    one = 1\n\n\n"
    "@functools.cache\ndef one():\n    return A.one\n\n\n"
    "def helper(dy, y):\n    return one() * dy * (y > 0)\n",
    "a part of another exercise": f"{RIGHT}\n\ndef tanh_backward(dy, cache):\n    pass\n",
}  # fmt: skip


@pytest.mark.parametrize("text", RIGHT_FILES.values(), ids=RIGHT_FILES)
def test_right(capsys, text):
    code, out, err = check(capsys, text)
    assert (code, err) == (0, "")
    assert "relu_backward is right" in out


@pytest.mark.parametrize("name", ["conv2d.py", "numpy.py", "numpy/numpy.py", "a b.py", "ä.py"])
def test_the_name_of_the_file_does_not_matter(capsys, name):
    assert check(capsys, RIGHT, name)[0] == 0


WRONG_FILES = {
    "np.matrix(dy.copy())": "must be a NumPy array of shape (3, 4), got a matrix of shape (3, 4).",
    "np.ma.masked_array(dy.copy())": "got a MaskedArray of shape (3, 4).",
    "type('Array', (), {'shape': (3, 4)})()": "got an Array of shape (3, 4).",
    "dy.tolist()": "dx must be a NumPy array of shape (3, 4), got a list.",
    "(dy * (y > 0)).astype(complex)": "dx must be float64 like the other arrays, got complex128",
    "(dy * (y > 0)).astype(int)": "got int64",
    "y > 0": "got bool",
    "(dy * (y > 0)).astype(object)": "got object",
    "np.broadcast_to(dy * (y > 0), dy.shape)": "dx is read-only: return a new array.",
    "dy": "dx is dy itself, or a view of it: return a new array",
    "dy[:]": "dx is dy itself, or a view of it",
    "dy * float('nan')": "It contains NaN or infinity.",
    "dy * (y > 0) / (dy != dy[0, 0])": "1 of 12 elements is NaN or infinite.",
    "None": "it must return dx; it returned None: is the `return` missing?",
    "[dy]": "dx must be a NumPy array of shape (3, 4), got a list.",
    "exit()": "relu_backward fails in line 39: SystemExit: None",
    "input()": "relu_backward fails in line 39: RuntimeError: an exercise cannot ask for input()",
    "(f := lambda: f())()": "RecursionError: maximum recursion depth exceeded",
    "dy @ y": "Here dy has shape (3, 4), y has shape (3, 4).",
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("expression", WRONG_FILES)
def test_wrong(capsys, expression):
    code, out, err = check(capsys, returning(expression))
    assert (code, err) == (1, "")
    assert WRONG_FILES[expression] in out
    assert "mistake of the gallery" not in out
    assert len(out.splitlines()) < 15


def test_a_function_without_its_decorator(capsys):
    text = RIGHT.replace("@accelerated\ndef relu_backward", "def relu_backward")
    code, out, _ = check(capsys, text)
    assert code == 1
    assert "the line @accelerated above its def is missing" in out


def test_a_second_call_must_not_change_the_results_of_the_first(capsys):
    text = RIGHT.replace(
        BODY, "    KEPT.append(dy * (y > 0))\n    KEPT[0][...] = 0\n    return KEPT[-1]\n"
    )
    code, out, _ = check(capsys, f"{text}\n\nimport numpy as np\n\nKEPT = [np.zeros(1)]\n")
    assert code == 0, out
    text = RIGHT.replace(BODY, "    out = KEPT.setdefault(dy.nbytes, dy.copy())\n"
                         "    np.multiply(dy, y > 0, out=out)\n    return out\n")  # fmt: skip
    code, out, _ = check(capsys, f"{text}\n\nimport numpy as np\n\nKEPT = {{}}\n")
    assert code == 1
    assert "a second call changes dx of the first: return a new array." in out


CANNOT_BE_JUDGED = {
    "empty": ("", "found no function of an exercise"),
    "binary": (bytes(range(256)), "expected text in UTF-8"),
    "zeros": ("x = 1\n\0", "source code string cannot contain null bytes"),
    "tabs": (RIGHT.replace(BODY, BODY.replace("    ", "\t")), "inconsistent use of tabs"),
    "unfinished": ("x = (", "solution.py, line 1: '(' was never closed: x = ("),
    "deep": ("x = " + "-" * 50_000 + "1", "too complex for the parser"),
    "ends": (f"{RIGHT}\nimport sys\n\nsys.exit(3)\n", ": SystemExit: 3"),
    "asks": (f"{RIGHT}\ninput()\n", "RuntimeError: an exercise cannot ask for input()"),
    "two": (
        "def relu_backward(): pass\ndef tanh_backward(): pass\n",
        "expected one exercise in a file, found relu_backward and tanh_backward",
    ),
}


@pytest.mark.parametrize("text, words", CANNOT_BE_JUDGED.values(), ids=CANNOT_BE_JUDGED)
def test_cannot_be_judged(capsys, text, words):
    code, out, err = check(capsys, text)
    assert (code, out) == (2, "")
    assert err.startswith("scratchvae check: error: solution.py")
    assert words in err
    assert len(err) < 250


def test_a_folder_and_a_missing_file(capsys, folder):
    (folder / "x.py").mkdir()
    assert run(capsys, "check", "x.py") == (
        2, "", "scratchvae check: error: x.py: Is a directory")  # fmt: skip
    assert run(capsys, "check", "y.py")[0] == 2


def test_json_stays_json_if_the_file_prints(capsys):
    code, out, _ = check(capsys, f"print('at import')\n{RIGHT}".replace(
        BODY, f"    print('in a call')\n{BODY}"), "solution.py", "--json")  # fmt: skip
    assert code == 0
    assert json.loads(out)["passed"]


def test_json_of_a_wrong_solution(capsys):
    code, out, _ = check(capsys, returning("dy.copy()"), "solution.py", "--json")
    record = json.loads(out)
    assert (code, record["passed"]) == (1, False)
    assert record["wrong"][0].startswith("dx is wrong: dx[")


def test_another_folder(capsys, folder):
    """The file that is written can be judged from anywhere."""
    assert run(capsys, "exercise", "relu", "--out", str(folder / "r.py"))[0] == 0
    text = (folder / "r.py").read_text(encoding="utf-8")
    (folder / "r.py").write_text(RIGHT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "scratchvae", "check", str(folder / "r.py")],
        cwd=Path(__file__).parents[2], capture_output=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "raise NotImplementedError" in text


def test_no_file_is_replaced_or_half_written(capsys, folder):
    (folder / "mine.py").write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, "exercise", "relu", "--out", "mine.py")
    assert code == 2
    assert "mine.py exists, and may have your solution" in err
    assert (folder / "mine.py").read_text(encoding="utf-8") == "mine"
    code, _, err = run(capsys, "exercise", "relu", "--out", "missing/x.py")
    assert code == 2
    assert "there is no folder missing" in err
    assert [file.name for file in folder.iterdir()] == ["mine.py"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["99"], "unknown exercise '99'"),
        (["--bug", "0"], "--bug: must be 1 or more, got 0"),
        (["--bug", "9999"], "expected a bug from 1 to "),
        (["relu", "--hint", "3"], "--hint: invalid choice: 3"),
        (["relu", "--bug", "3"], "either an exercise or --bug, not both"),
        (["--hint", "1"], "--hint, --solution and --out need an exercise or --bug"),
        (["relu", "--hint", "1", "--solution"], "at most one of --hint, --solution and --out"),
    ],
)
def test_refused(capsys, folder, arguments, words):
    code, out, err = run(capsys, "exercise", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not [*folder.iterdir()]


@pytest.mark.parametrize("options", [[], ["--hint", "2"], ["--solution"]])
@pytest.mark.parametrize("what", [["relu"], ["26"], ["relu_backward"], ["--bug", "1"]])
def test_json(capsys, what, options):
    code, out, err = run(capsys, "exercise", *what, *options, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)
