"""benchmarks/registers.py parses the compiler's report, and reports a kernel that spills."""

import importlib
import shutil
from pathlib import Path

import pytest

from scratchvae.kernels import cuda

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

# Of nvcc 13.0; NVRTC begins the indented lines with "ptxas         .".
REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'calls' for 'sm_80'
ptxas info    : Function properties for calls
    40 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 0 barriers, 360 bytes cmem[0]
ptxas info    : Compile time = 33.429 ms
ptxas info    : Function properties for _Z4slowd
    0 bytes stack frame, 16 bytes spill stores, 8 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'spills' for 'sm_90'
ptxas info    : Function properties for spills
ptxas         .     896 bytes stack frame, 1860 bytes spill stores, 1960 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 896 bytes cumulative stack size
ptxas info    : Compile time = 154.277 ms
ptxas info    : Compiling entry function 'fine' for 'sm_90'
ptxas info    : Function properties for fine
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 256 bytes smem
ptxas info    : Compile time = 2.007 ms
"""

KERNEL = 'using T = REAL;\nextern "C" __global__ void '
SPILLS = (
    KERNEL
    + """__launch_bounds__(1024) spills(const T* x, T* y) {
  T a[128];
#pragma unroll
  for (int i = 0; i < 128; i++) a[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();  // all are loaded before the first is stored
#pragma unroll
  for (int i = 0; i < 128; i++) y[i * 1024 + threadIdx.x] = a[i] * a[(i + 1) % 128];
}"""
)
STACK = KERNEL + "looks_up(T* y, int k) { T a[8]; for (T& b : a) b = y[&b - a]; *y = a[k]; }"
FINE = KERNEL + "fine(T* y) { __shared__ T s[4]; s[threadIdx.x] = *y; *y = s[0]; }"


@pytest.fixture
def registers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("registers")


def test_the_report_is_read(registers):
    usage, problems = registers.parse(REPORT)
    assert usage == {
        ("calls", "sm_80"): (28, 0, 40, 0),
        ("spills", "sm_90"): (64, 0, 896, 3820),
        ("fine", "sm_90"): (14, 256, 0, 0),
    }
    assert problems == [
        "calls for sm_80 has a stack of 40 bytes",
        "_Z4slowd for sm_80 spills 24 bytes",
        "spills for sm_90 spills 3820 bytes",
    ]


def test_a_stack_may_be_explained(registers, monkeypatch):
    monkeypatch.setitem(registers.STACKS, "calls", "cos of large numbers")
    assert not any("calls" in problem for problem in registers.parse(REPORT)[1])


def test_without_a_compiler_it_says_so(registers, monkeypatch, capsys):
    monkeypatch.setattr(registers, "nvcc", lambda folder: None)
    monkeypatch.setattr(registers, "nvrtc", lambda: None)
    assert registers.main([]) == registers.main(["--nvrtc"]) == 0
    for line, name in zip(capsys.readouterr().out.splitlines(), ("nvcc", "NVRTC"), strict=True):
        assert line.startswith(f"no {name}")


def test_kernels_come_in_the_order_of_the_file(registers, monkeypatch, tmp_path):
    monkeypatch.setattr(cuda, "FOLDER", tmp_path)
    (tmp_path / "a.cu").write_text("KERNEL refine() KERNEL spills() KERNEL fine() KERNEL calls()")
    rows, _ = registers.rows_of("a", "float32", lambda *_: REPORT)
    assert [row.split(" | ")[1] for row in rows] == ["spills", "fine", "calls"]
    assert rows[1] == "| a.cu | fine | float | ? | ? | ? | 14 | 256 | 0 |"


@pytest.fixture(params=["nvcc", "nvrtc"])
def verdict(request, registers, monkeypatch, tmp_path, capsys):
    """Compile these texts in place of the kernels: exit status, output, problems."""
    there = shutil.which("nvcc") if request.param == "nvcc" else registers.nvrtc_library()
    if not there:
        pytest.skip(f"no {request.param}")
    monkeypatch.setattr(cuda, "FOLDER", tmp_path)
    monkeypatch.setattr(registers, "ARCHITECTURES", ("sm_90",))

    def run(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.cu").write_text(text)
        status = registers.main(["--nvrtc"] if request.param == "nvrtc" else [])
        return status, *capsys.readouterr()

    return run


def test_the_kernel_that_spills_is_named(verdict):
    status, table, complaints = verdict(a=FINE, b=SPILLS)
    assert status == 1
    assert "b.cu, float: spills for sm_90 spills" in complaints
    assert "b.cu, double: spills for sm_90 spills" in complaints
    assert "fine" not in complaints
    assert "| a.cu | fine | float | " in table
    assert "\n4 kernels compiled, from 2 files" in table


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (STACK, "looks_up for sm_90 has a stack of"),
        (FINE + "}", "does not compile"),
        ("#define KERNEL\nKERNEL\nKERNEL\n" + FINE, "2 kernels, but the report has fine"),
        ("#include <no_such_file.h>", "does not compile"),
        ("", "0 kernels, but the report has none"),
    ],
)
def test_what_else_is_wrong(verdict, text, complaint):
    status, _, complaints = verdict(a=text)
    assert status == 1
    assert complaint in complaints


def test_a_folder_without_kernels_is_no_success(verdict):
    assert verdict()[0] == 1
