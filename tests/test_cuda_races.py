"""The simulated GPU finds the fault in each of these small kernels, with a message that names it;
the kernels pass without the fault."""

import functools
import resource

import numpy as np
import pytest
from on_host import build

pytestmark = [
    pytest.mark.cuda_on_host,
    pytest.mark.skipif(build.problem() is not None, reason=str(build.problem())),
]
FULL = "0xffffffffu"


@pytest.fixture
def launch(monkeypatch):
    """launch(name, x, y): run `KERNEL name(const T* x, T* y) { body }`."""

    def run(name, x, y, mode="races", blocks=1, backwards=False):
        monkeypatch.setattr(build, "mode", mode)
        monkeypatch.setattr(build, "backwards", backwards)
        monkeypatch.setitem(build.planted, str(y.dtype), _library(str(y.dtype), mode))
        build.launch(str(y.dtype), _kernel(name), (blocks,), (64,), [x, y])
        return y

    return run


@functools.cache
def _library(dtype, mode):
    """A library of all kernels below."""
    bodies = {**RIGHT, **{name: body for name, (body, _) in WRONG.items()}, **FOR_BLOCKS}
    kernels = [f"KERNEL {_kernel(n)}(const T* x, T* y) {{\n{bodies[n]}\n}}" for n in bodies]
    start = 'using T = REAL;\n#define KERNEL extern "C" __global__ void'
    return build.load(dtype, {"samples": "\n".join([start, *kernels])})


def _kernel(name):
    return name.replace(" ", "_").replace(",", "")


def numbers(count=64, dtype="float32"):
    return np.arange(count, dtype=dtype)


TURN = """__shared__ T room[64];
room[threadIdx.x] = x[threadIdx.x];
__syncthreads();
y[threadIdx.x] = room[63 - threadIdx.x];"""

ROUNDS = """__shared__ T room[64];
T sum = 0;
for (int k = 0; k < 3; k++) {
  room[threadIdx.x] = x[threadIdx.x] + k;
  __syncthreads();
  sum += room[(threadIdx.x + 1) % 64];
  __syncthreads();  // read by all
}
y[threadIdx.x] = sum;"""

WARP = """__shared__ T room[64];
room[threadIdx.x] = x[threadIdx.x];
__syncwarp();
y[threadIdx.x] = room[threadIdx.x ^ 1];"""

IN_PLACE = """T next = y[(threadIdx.x + 1) % 64];
__syncthreads();
y[threadIdx.x] = next;"""

SMALL = """__shared__ unsigned char room[64];
room[threadIdx.x] = threadIdx.x;
__syncthreads();
y[threadIdx.x] = room[threadIdx.x ^ 1];"""

OWN = TURN.replace("y[threadIdx.x]", "y[64 * blockIdx.x + threadIdx.x]")

RIGHT = {"turn": TURN, "rounds": ROUNDS, "warp": WARP, "in place": IN_PLACE, "small": SMALL}


WRONG = {
    "a write not yet there": (
        TURN.replace("__syncthreads();", ""),
        r"reads `y\[threadIdx.x\] = room\[63 - .*` in shared memory, .*, which no thread wrote",
    ),
    "read after write": (
        "__shared__ T room[64];\nroom[63 - threadIdx.x] = 0;\n__syncthreads();"
        + TURN.partition("\n")[2].replace("__syncthreads();", ""),
        "race in shared memory, byte .*: thread .* reads .* and thread .* writes "
        "|race in shared memory, byte .*: thread .* writes .* and thread .* reads ",
    ),
    "write after read, in a loop": (
        ROUNDS.replace("__syncthreads();  // read by all", ""),
        r"race in shared memory, byte .*reads `sum \+= .* and .*writes `room\[threadIdx.x\] = x.*"
        r"|race in shared memory, byte .*writes `room\[threadIdx.x\] = x.* and .*reads `sum \+= .*",
    ),
    "two writes": (
        "y[threadIdx.x / 2] = x[threadIdx.x];",
        r"race in argument 1, element 0: thread 0 of block 0 writes .*thread 1 of block 0 writes"
        r"|race in argument 1, element 31: thread 63 of block 0 writes .*thread 62 of block 0",
    ),
    "in place, at once": (
        IN_PLACE.replace("__syncthreads();", ""),
        r"race in argument 1, element \d+: ",
    ),
    "a warp without __syncwarp": (
        "__shared__ T room[64]; room[threadIdx.x ^ 1] = 0; __syncthreads();"
        + WARP.partition("\n")[2].replace("__syncwarp();", ""),
        "race in shared memory",
    ),
    "a shuffle orders no memory": (
        WARP.replace("__syncwarp();", f"T one = __shfl_xor_sync({FULL}, T(1), 1);").replace(
            "room[threadIdx.x ^ 1]", "one * room[threadIdx.x ^ 1]"
        ),
        "race in shared memory, byte .* with nothing to order them",
    ),
    "__syncwarp between warps": (
        TURN.replace("__syncthreads", "__syncwarp"),
        "race in shared memory|which no thread wrote",
    ),
    "__syncwarp in one warp": (
        "int i = threadIdx.x % 32;\nif (threadIdx.x < 32) __syncwarp();\ny[i] = x[i];",
        "race in argument 1, element",
    ),
    "one lane of two that read, later": (
        "if (threadIdx.x == 0 || threadIdx.x == 5) y[1 + threadIdx.x] = y[0];\n"
        f"if (threadIdx.x < 32) __shfl_xor_sync({FULL}, 1, 1);\nif (threadIdx.x == 0) y[0] = 1;",
        "race in argument 1, element 0",
    ),
    "one warp of two that read, later": (
        "if (threadIdx.x == 63 || threadIdx.x == 0) y[1 + threadIdx.x / 63] = y[0];\n"
        "__syncthreads();\n"
        "if (threadIdx.x == 63 || threadIdx.x == 0) y[1 + threadIdx.x / 63] = y[0] + 1;\n"
        "if (threadIdx.x == 63) y[0] = 1;",
        "race in argument 1, element 0",
    ),
    "the second half of a wide store": (
        "int i = threadIdx.x % 32;\nif (threadIdx.x < 32) ((long long*)y)[i] = 1;\n"
        "else y[2 * i + 1] = 1;",
        r"race in argument 1, element \d*[13579]: ",
    ),
    "a wide store across the end": (
        "if (threadIdx.x == 0) *(long long*)(y + 63) = 1;",
        "out of bounds, 0 bytes after the array of argument 1: thread 0 of block 0 writes `if",
    ),
    "bytes": (SMALL.replace("__syncthreads();", ""), "race in shared|which no thread wrote"),
    "diverged barriers": (
        "if (threadIdx.x < 40) __syncthreads();\nelse\n  __syncthreads();  // the other\ny[0];",
        r"thread 40 waits at `else __syncthreads.*`, others at `if"
        r"|thread \d+ waits at `__syncthreads.*the other`, others at `if \(threadIdx.x < 40\)",
    ),
    "a barrier that some do not reach": (
        "if (threadIdx.x < 40) __syncthreads();",
        r"24 threads have ended, 40 wait for them at `if \(threadIdx",
    ),
    "a shuffle that some lanes do not reach": (
        f"if (threadIdx.x < 40) y[threadIdx.x] = __shfl_xor_sync({FULL}, x[threadIdx.x], 1);",
        r"24 lanes of warp 1 are not there where 8 wait for them: `if",
    ),
    "a shuffle while others wait at a barrier": (
        f"if (threadIdx.x % 2) y[0] = __shfl_xor_sync({FULL}, x[0], 2);\n__syncthreads();",
        "16 lanes of warp . are not there where 16 wait for them",
    ),
    "different shuffles": (
        f"T a = 0;\nif (threadIdx.x % 2)\n a = __shfl_xor_sync({FULL}, T(1), 1);\n"
        f"else\n a = __shfl_xor_sync({FULL}, T(2), 1);\ny[threadIdx.x] = a;",
        "waits at `a = __shfl.*, others at `a = __shfl",
    ),
    "a mask of half a warp": (
        "y[threadIdx.x] = __shfl_xor_sync(0xffff, x[threadIdx.x], 1);",
        "not all 32 lanes are in the mask of `y",
    ),
    "a store behind the array": (
        "y[threadIdx.x + 1] = x[threadIdx.x];",
        "out of bounds, 0 bytes after the array of argument 1: thread 63 of block 0 writes `y",
    ),
    "a load before the array": (
        "y[threadIdx.x] = x[int(threadIdx.x) - 1];",
        "out of bounds, 4 bytes before the array of argument 0: thread 0 of block 0 reads `y",
    ),
    "a store far away": ("y[1 << 28] = x[0];", "out of bounds, far from every array"),
    "shared memory without a value": (
        "__shared__ T room[64]; y[threadIdx.x] = room[threadIdx.x];",
        "in shared memory, byte .*, which no thread wrote",
    ),
}


FOR_BLOCKS = {
    "own": OWN,
    "reads anothers": OWN + "\ny[64 * blockIdx.x + threadIdx.x] = y[threadIdx.x];",
    "reads first": "int i = threadIdx.x;\nif (blockIdx.x) y[i] = 0; else y[64 + i] = y[i];",
    **{
        f"reader {reader}": f"if (threadIdx.x == {reader} || threadIdx.x == 63)"
        " y[1 + threadIdx.x / 63] = y[0];\nif (threadIdx.x == 63) y[0] = 1;"
        for reader in (0, 31, 32, 62)
    },
    "reads first and again": "if (threadIdx.x == 0) y[1 - blockIdx.x] = y[0] + 1;",
    "copy": "y[threadIdx.x] = x[threadIdx.x];",
    "swap": "y[threadIdx.x] = x[threadIdx.x ^ 1];",
}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_kernels_pass(name, dtype, backwards, launch):
    results = [
        launch(name, numbers(dtype=dtype), numbers(dtype=dtype), mode, backwards=backwards)
        for mode in ("races", "plain")
    ]
    np.testing.assert_array_equal(*results)
    assert np.isfinite(results[0]).all()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernels_do_not(name, backwards, launch):
    with pytest.raises(RuntimeError, match=f"^{_kernel(name)}: .*({WRONG[name][1]})"):
        launch(name, numbers(), numbers(), backwards=backwards)


WAITING = [name for name in WRONG if "barrier" in name or "lanes" in name or "mask" in name]


@pytest.mark.parametrize("name", [*WAITING, "different shuffles"])
def test_who_waits_in_vain_is_caught_without_the_race_checker(name, launch):
    with pytest.raises(RuntimeError, match=f"^{_kernel(name)}: .*({WRONG[name][1]})"):
        launch(name, numbers(), numbers(), mode="plain")


def test_blocks_race_in_arrays_only(launch):
    """Each block has its own shared memory, and blocks run in any order."""
    x, y = numbers(), numbers(128)
    launch("own", x, y, blocks=2)
    with pytest.raises(
        RuntimeError, match="thread 0 of block 0 writes .* thread 0 of block 1 writes"
    ):
        launch("turn", x, y, blocks=2)
    with pytest.raises(RuntimeError, match="of block 0 writes .* of block 1 reads"):
        launch("reads anothers", x, y, blocks=2)
    with pytest.raises(RuntimeError, match="thread 0 of block 0 reads .* block 1 writes"):
        launch("reads first", x, y, blocks=2)
    with pytest.raises(RuntimeError, match="thread 0 of block 0 reads .* block 1 writes"):
        launch("reads first and again", x, y, blocks=2)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("reader", [0, 31, 32, 62])
def test_a_reader_is_not_forgotten_when_the_writer_reads_too(reader, backwards, launch):
    with pytest.raises(RuntimeError, match="race in argument 1, element 0"):
        launch(f"reader {reader}", numbers(), numbers(), backwards=backwards)


def test_the_same_array_twice_is_one_array(launch):
    x = numbers()
    launch("copy", x, x)
    with pytest.raises(RuntimeError, match="race in argument 0"):
        launch("swap", x, x)


def test_shared_memory_starts_as_nan(launch):
    y = launch("shared memory without a value", numbers(), numbers(), "plain")
    assert np.isnan(y).all()


def test_a_stopped_launch_leaves_nothing_behind(launch):
    for _ in range(3):
        y = np.zeros(65, "float32")
        with pytest.raises(RuntimeError, match="0 bytes after"):
            launch("a store behind the array", numbers(), y[:64])
        assert y[64] == 0, "the store was not prevented"
    np.testing.assert_array_equal(launch("turn", numbers(), numbers()), numbers()[::-1])


def test_stopped_launches_give_their_stacks_back(launch):
    """40 threads wait forever: 1.25 MB of stacks."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(80):
        with pytest.raises(RuntimeError, match="wait for them"):
            launch("a barrier that some do not reach", numbers(), numbers(), "plain")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (40 << 10)
