"""Whatever reads what others wrote, by name. A parser more is an entry more, and a module for it.

Such a module has

- `seeds()`, a list of small and whole inputs (bytes), made in code;
- `build(random)`, one input made as the format demands, with lies where it hurts;
- `parser(folder)`, a function of a path that returns True for a file that was read and False for
  one that was refused as documented; any other end is a surprise. It may write in `folder`;
- `MEGABYTES`, the address space that the parser may take beyond what importing it took.
"""

import fuzz_arguments
import fuzz_checkpoint
import fuzz_config
import fuzz_idx
import fuzz_image
import fuzz_partition
import fuzz_weights

PARSERS = {
    "arguments": fuzz_arguments,
    "checkpoint": fuzz_checkpoint,
    "config": fuzz_config,
    "idx": fuzz_idx,
    "image": fuzz_image,
    "partition": fuzz_partition,
    "weights": fuzz_weights,
}
