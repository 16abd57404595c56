"""Mistakes in sharing work and memory between cores, threads and signal handlers."""

from planting import Fault

THREADS = "tests/test_threads.py"
MEMORY = "tests/test_memory.py"
ANY_BYTECODE = f"{THREADS}::test_an_interrupt_at_any_bytecode_leaves_nothing_behind"

FAULTS = [
    Fault(
        "share-leaves-out-the-last-image",
        "scratchvae.kernels.cpu.runtime.threads",
        [
            (
                "slice(count * i // parts, count * (i + 1) // parts)",
                "slice(count // parts * i, count // parts * (i + 1))",
            )
        ],
        "each core takes N // cores images, and no core takes the rest",
        f"{THREADS}::test_parts_make_up_the_whole[2-7]",
    ),
    Fault(
        "share-swallows-errors",
        "scratchvae.kernels.cpu.runtime.threads",
        [("        if self.errors:\n            raise self.errors[0]", "        pass")],
        "an error on another core is lost, and a part of the result is what memory held",
        f"{THREADS}::test_an_error_in_any_part_arrives_when_none_is_running[1]",
    ),
    Fault(
        "share-cuts-by-who-is-busy",
        "scratchvae.kernels.cpu.runtime.threads",
        [("1 if cost < SMALL else", "1 if cost < SMALL or blas._state[0] > 1 else")],
        "work is one part while another thread shares: the bits of its sums depend on the moment",
        f"{THREADS}::test_how_parts_are_cut_does_not_depend_on_who_is_busy[2-7]",
    ),
    Fault(
        "share-waits-for-a-worker-asleep",
        "scratchvae.kernels.cpu.runtime.threads",
        [("if _claim(self.states, i, HERE):", "if False:")],
        "what no worker has begun stays undone",
        f"{THREADS}::test_without_any_worker_this_thread_does_all[False]",
    ),
    Fault(
        "worker-takes-what-is-taken",
        "scratchvae.kernels.cpu.runtime.threads",
        [("if not _claim(self.states, i, THERE):", "if False:")],
        "a worker that wakes up late writes into arrays that their owner thinks are done",
        f"{THREADS}::test_a_part_that_no_worker_has_begun_is_left_undone_after_an_error",
    ),
    Fault(
        "worker-of-two-threads",
        "scratchvae.kernels.cpu.runtime.threads",
        [
            (
                "if not self.serving.acquire(blocking=False):",
                "if self.serving.acquire(False) is None:",
            )
        ],
        "an interrupt right after the start of a thread leaves one more, for good",
        f"{THREADS}::test_a_worker_that_is_started_twice_is_one_thread",
    ),
    Fault(
        "interrupt-leaves-a-core-at-work",
        "scratchvae.kernels.cpu.runtime.threads",
        [("        _end(run.states, count)\n", "        pass\n")],
        "a Ctrl-C reaches its handler while another core still writes",
        f"{THREADS}::test_ctrl_c_waits_for_the_other_cores",
    ),
    Fault(
        "interrupt-before-the-try",
        "scratchvae.kernels.cpu.runtime.threads",
        [
            (
                "    try:\n        blas.enter(entry)\n",
                "    blas.enter(entry)\n    try:\n        pass\n",
            )
        ],
        "a Ctrl-C between the limit and the `try` that undoes it leaves BLAS with one thread",
        f"{ANY_BYTECODE}[False]",
    ),
    Fault(
        "interrupt-within-the-finally",
        "scratchvae.kernels.cpu.runtime.threads",
        [("_end(run.states, count)", "_end(run.states, len(parts))")],
        "a call between an error and the wait for the other cores: a Ctrl-C there skips the wait",
        f"{ANY_BYTECODE}[True]",
    ),
    Fault(
        "cores-that-were-taken-away",
        "scratchvae.kernels.cpu.runtime.threads",
        [("(LINUX and _note_cores(_Cores())) or os.cpu_count()", "os.cpu_count()")],
        "as many threads as the machine has cores, whatever taskset allows",
        f"{THREADS}::test_cores_taken_away_later_are_not_used",
    ),
    Fault(
        "worker-on-a-core-that-was-taken-away",
        "scratchvae.kernels.cpu.runtime.threads",
        [
            (
                "                    _settle(self.cores, run.cores, core)\n",
                "                    pass\n",
            )
        ],
        "a worker stays on the cores that were allowed when it was made",
        f"{THREADS}::test_cores_taken_away_later_are_not_used",
    ),
    Fault(
        "buffer-kept-for-the-next-call",
        "scratchvae.kernels.cpu.convolution.winograd",
        [
            (
                "V, M = (scratch((planes.size,), x.dtype) for planes in (plan.V, plan.M))",
                "V, M = sizes.__dict__.setdefault((plan.V.size, x.dtype), "
                "[scratch((planes.size,), x.dtype) for planes in (plan.V, plan.M)])",
            )
        ],
        "a signal handler that computes overwrites the buffer of what it interrupts",
        f"{THREADS}::test_an_op_may_be_computed_amid_another[winograd_2-conv2d]",
    ),
    Fault(
        "memory-lease-forgotten",
        "scratchvae.kernels.cpu.runtime.memory",
        [
            (
                "return np.asarray(_Lease(block, free, shape, dtype))",
                "return np.ndarray("
                "shape, dtype, _Lease(block, free, shape, dtype).end.block.bytes)",
            )
        ],
        "the array does not hold its block's lease: the next one gets it while this one lives",
        f"{MEMORY}::test_a_block_comes_back_when_its_last_view_dies",
    ),
    Fault(
        "memory-block-stays-free",
        "scratchvae.kernels.cpu.runtime.memory",
        [("block = free.pop().block", "block = free[-1].block")],
        "a block is handed out, and stays in the list of free ones",
        f"{MEMORY}::test_two_arrays_never_get_the_same_block",
    ),
    Fault(
        "memory-released-blocks-come-back",
        "scratchvae.kernels.cpu.runtime.memory",
        [("        free.__class__ = _Closed\n", "")],
        "blocks that were in use when memory was given back are kept all the same",
        f"{MEMORY}::test_release_gives_back_at_once_what_is_free_and_later_what_is_not",
    ),
    Fault(
        "memory-comes-back-in-python",
        "scratchvae.kernels.cpu.runtime.memory",
        [("self.end = _End(self, free)", "self.end = _End(self, lambda end: free.append(end))")],
        "a lease ends with a line of Python: a Ctrl-C there is printed and dropped",
        f"{MEMORY}::test_the_end_of_an_array_runs_no_python",
    ),
]
