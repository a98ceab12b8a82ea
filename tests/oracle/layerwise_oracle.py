"""Several steps of LAMB and LARS, by their papers' formulas in f64."""

import torch
from cases import Cases

SHAPES = [[], [1], [7], [3, 5], [4, 3, 3, 3], [0, 2], [6], [5]]
LARGE = [[170, 201]]  # more than one part of parallel work, and of a launch
ZERO_PARAM, ZERO_GRAD = 6, 7  # indices of the parameters that start at 0, and whose gradients are 0
STEPS = 5


def ratio_or_one(ratio, *norms):
    return ratio if all(norm > 0 for norm in norms) else 1.0


def lamb(p, g, state, step, o):
    """You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2."""
    m = state["m"] = o["beta1"] * state.get("m", 0) + (1 - o["beta1"]) * g
    v = state["v"] = o["beta2"] * state.get("v", 0) + (1 - o["beta2"]) * g * g
    m_hat, v_hat = m / (1 - o["beta1"] ** step), v / (1 - o["beta2"] ** step)
    direction = m_hat / (v_hat.sqrt() + o["eps"]) + o["weight_decay"] * p
    ratio = 1.0
    if o["weight_decay"] != 0 or o["always_adapt"]:
        ratio = ratio_or_one(p.norm() / direction.norm(), p.norm(), direction.norm())
    return p - o["lr"] * ratio * direction


def lars(p, g, state, step, o):
    """You et al. 2017, https://arxiv.org/abs/1708.03888, algorithm 1, with the learning rate outside of the buffer."""
    decay, ratio = o["weight_decay"], 1.0
    if decay != 0 or o["always_adapt"]:
        ratio = o["trust_coeff"] * p.norm() / (g.norm() + decay * p.norm() + o["eps"])
        ratio = ratio_or_one(ratio, p.norm(), g.norm())
    g = ratio * (g + decay * p)
    if o["momentum"] != 0:
        b = state["b"] = g if step == 1 else o["momentum"] * state["b"] + (1 - o["dampening"]) * g
        g = g + o["momentum"] * b if o["nesterov"] else b
    return p - o["lr"] * g


def add(cases, op, rule, options, dtype, grad_dtype) -> None:
    params = [torch.randn(shape, dtype=dtype) for shape in SHAPES + LARGE]
    params[4] = params[4].to(memory_format=torch.channels_last)
    params[ZERO_PARAM].zero_()
    tensors = {f"param{i}": p.clone() for i, p in enumerate(params)}
    states = [{} for _ in params]
    params = [p.double() for p in params]
    for step in range(1, STEPS + 1):
        for i, p in enumerate(params):
            grad = torch.randn(p.shape, dtype=torch.float64).to(grad_dtype)
            if i == ZERO_GRAD:
                grad.zero_()
            tensors[f"grad{step}_{i}"] = grad
            params[i] = rule(p, grad.double(), states[i], step, options)
            tensors[f"param{step}_{i}"] = params[i].to(dtype)
    cases.add(op, options, **tensors)


def generate(folder) -> None:
    torch.manual_seed(6)
    cases = Cases()
    lambs = [
        {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.01, "always_adapt": False},
        {"lr": 0.3, "beta1": 0.7, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.2, "always_adapt": False},
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0, "always_adapt": False},
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0, "always_adapt": True},
    ]
    usual = {"lr": 2.0, "momentum": 0.9, "dampening": 0, "weight_decay": 0.01, "nesterov": False, "trust_coeff": 0.05,
             "eps": 1e-8, "always_adapt": False}  # fmt: skip
    larses = [
        usual,
        usual | {"nesterov": True},
        usual | {"momentum": 0},
        usual | {"dampening": 0.3, "weight_decay": 0.5, "trust_coeff": 0.2, "eps": 0.1},
        usual | {"lr": 0.1, "weight_decay": 0},
        usual | {"weight_decay": 0, "always_adapt": True},
    ]
    f32, f64 = torch.float32, torch.float64
    for dtype, grad_dtype in ((f32, f32), (f64, f64), (f32, torch.bfloat16), (f32, torch.float16)):
        for options in lambs:
            add(cases, "lamb", lamb, options, dtype, grad_dtype)
        for options in larses:
            add(cases, "lars", lars, options, dtype, grad_dtype)
    cases.save(folder)
