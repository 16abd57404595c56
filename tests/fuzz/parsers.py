"""The parsers of files from outside, by name. To add a parser, add an entry and a module with

- `seeds()`, a list of small, valid inputs (bytes), made in code;
- `build(random)`, one input in the form of the format, with wrong values in critical fields;
- `parser(folder)`, a function of a path that returns True for a file that was read and False for
  one that was rejected as documented; any other outcome is a surprise. It may write in `folder`;
  `reader` makes such a function;
- `MEGABYTES`, the address space that the parser may use beyond that of its imports.
"""

import fuzz_arguments
import fuzz_arrays
import fuzz_checkpoint
import fuzz_cifar
import fuzz_config
import fuzz_formats
import fuzz_idx
import fuzz_image
import fuzz_partition
import fuzz_weights

PARSERS = {
    "arguments": fuzz_arguments,
    "arrays": fuzz_arrays,
    "checkpoint": fuzz_checkpoint,
    "cifar": fuzz_cifar,
    "config": fuzz_config,
    "formats": fuzz_formats,
    "idx": fuzz_idx,
    "image": fuzz_image,
    "partition": fuzz_partition,
    "weights": fuzz_weights,
}
