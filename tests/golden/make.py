"""Compute the golden values with PyTorch: `python tests/golden/make.py` writes the files,
`--check` compares with what is there and writes nothing.

The values must be independent of scratchvae: every forward is PyTorch's own function, and autograd
computes every gradient. Only shapes and options of ops without a case in cases.py are scratchvae's.
"""

import argparse
import datetime
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch_models
from golden import cases, values
from torch_ops import torch_op


def op_results(case):
    op, inputs, options, named = cases.OPS[case]
    tensors = {n: None if a is None else torch.tensor(a) for n, a in inputs.items()}
    moving = {n: t for n, t in tensors.items() if t is not None and n not in cases.CONSTANT}
    for tensor in moving.values():
        tensor.requires_grad_()
    y = torch_op(op)(*tensors.values(), *options, **named)
    differentiated = y[0] if op == "elbo" else y
    dy = torch.tensor(cases.output_gradient(case, tuple(differentiated.shape)))
    gradients = torch.autograd.grad(differentiated, list(moving.values()), dy)
    results = {"y": y.detach()}
    results |= {f"d{name}": g for name, g in zip(moving, gradients, strict=True)}
    # PyTorch writes the new statistics into its arguments.
    results |= {n: t for n, t in tensors.items() if n.startswith("running_")}
    return {what: t.contiguous().numpy() for what, t in results.items()}


def model_results(case):
    name, *_, options, training = cases.MODELS[case]
    model = torch_models.MODELS[name](**options).double().train(training)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    model.load_state_dict({n: torch.tensor(cases.weight(n, s)) for n, s in shapes.items()})
    losses = model.losses(*map(torch.tensor, cases.batch(case)))
    losses[0].backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}
    buffers = {name: b.numpy() for name, b in model.named_buffers()}
    return values.model_results([loss.item() for loss in losses], gradients, buffers)


def parameters():
    flat = torch.tensor(cases.start())
    sizes = [torch.Size(shape).numel() for shape in cases.SHAPES.values()]
    shapes = zip(flat.split(sizes), cases.SHAPES.values(), strict=True)
    return [torch.nn.Parameter(part.reshape(shape).clone()) for part, shape in shapes]


def set_gradients(parameters, flat):
    sizes = [p.numel() for p in parameters]
    for p, part in zip(parameters, torch.tensor(flat).split(sizes), strict=True):
        p.grad = part.reshape(p.shape).clone()


def joined(tensors):
    return torch.cat([t.detach().ravel() for t in tensors])


def optimizer_results(case):
    name, options = cases.OPTIMIZERS[case]
    moving = parameters()
    optimizer = getattr(torch.optim, name)(moving, **options)
    history = []
    for step in range(cases.STEPS):
        set_gradients(moving, cases.gradient(step))
        optimizer.step()
        history.append(joined(moving))
    return {"values after each step": torch.stack(history).numpy()}


def clipping_results(case):
    moving = parameters()
    set_gradients(moving, cases.gradient(0))
    norm = torch.nn.utils.clip_grad_norm_(moving, cases.CLIPPING[case])
    return {"norm": norm.reshape(1).numpy(), "gradients": joined(p.grad for p in moving).numpy()}


def compute():
    """group -> case -> what -> array."""
    return {
        "ops": {case: op_results(case) for case in cases.OPS},
        "models": {case: model_results(case) for case in cases.MODELS},
        "optimizers": {
            **{case: optimizer_results(case) for case in cases.OPTIMIZERS},
            **{case: clipping_results(case) for case in cases.CLIPPING},
        },
    }


def save(computed):
    metadata = {
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": values.COMMAND,
    }
    for group, results in computed.items():
        values.write(group, results, metadata)
        file = values.path(group)
        print(f"wrote {file}: {len(results)} cases, {file.stat().st_size:,} bytes")


def check(computed):
    """Exit with 1 if a file and PyTorch disagree."""
    disagree = False
    for group, results in computed.items():
        stored, metadata = values.read(group)
        names = [{(c, w) for c in each for w in each[c]} for each in (stored, results)]
        if names[0] != names[1]:
            print(f"{group}: other cases than in the file: {sorted(names[0] ^ names[1])}")
            disagree = True
            continue
        error, case, what = max(
            (error, case, what)
            for case in stored
            for what, error in values.errors(stored[case], results[case]).items()
        )
        print(
            f"{group}: {len(stored)} cases, made with torch {metadata['torch']} on "
            f"{metadata['date']}; torch {torch.__version__} differs by {error:.1e} at most, "
            f"in {case}/{what}; allowed {values.TOLERANCE[group]:.0e}"
        )
        disagree |= not error <= values.TOLERANCE[group]
    return int(disagree)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, do not write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums depend on how many threads share them
    computed = compute()
    sys.exit(check(computed) if arguments.check else save(computed))


if __name__ == "__main__":
    main()
