"""Several steps of torch.optim over parameters of odd shapes and both image layouts."""

import itertools

import torch
from cases import Cases

SHAPES = [[], [1], [7], [3, 5], [4, 3, 3, 3], [0, 2]]
LARGE = [[170, 201]]  # more than one piece of parallel work
STEPS = 5


def parameters(dtype):
    shapes = SHAPES + (LARGE if dtype == torch.float32 else [])
    params = [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]
    params[4].data = params[4].data.to(memory_format=torch.channels_last)
    return params


def add(cases, op, make, options, dtype) -> None:
    params = parameters(dtype)
    tensors = {f"param{i}": p.detach().clone() for i, p in enumerate(params)}
    optimizer = make(params, **options)
    for step in range(STEPS):
        for i, p in enumerate(params):
            p.grad = torch.randn_like(p)
            tensors[f"grad{step}_{i}"] = p.grad.clone()
        optimizer.step()
        for i, p in enumerate(params):
            tensors[f"param{step}_{i}"] = p.detach().clone()
    betas = options.pop("betas", None)
    if betas:
        options |= {"beta1": betas[0], "beta2": betas[1]}
    cases.add(op, options, **tensors)


def generate(folder) -> None:
    torch.manual_seed(4)
    cases = Cases()
    for dtype in (torch.float32, torch.float64):
        for momentum, decay, dampening in itertools.product((0, 0.9), (0, 1e-2), (0, 0.3)):
            for nesterov in (False, True):
                if nesterov and (momentum == 0 or dampening != 0):
                    continue
                options = {"lr": 0.1, "momentum": momentum, "weight_decay": decay, "dampening": dampening}
                add(cases, "sgd", torch.optim.SGD, options | {"nesterov": nesterov}, dtype)
        add(cases, "adamw", torch.optim.AdamW, {"lr": 1e-2}, dtype)
        options = {"lr": 0.3, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.2}
        add(cases, "adamw", torch.optim.AdamW, options, dtype)
        options = {"lr": 0.1, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.2}
        add(cases, "adam", torch.optim.Adam, options, dtype)
        add(cases, "adam", torch.optim.Adam, {"lr": 1e-2}, dtype)
    cases.save(folder)
