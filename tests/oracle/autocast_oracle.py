"""Dtypes of results and gradients under PyTorch's CPU autocast in bf16, for every op that Taper has too.

Each op runs with its floating-point inputs all in f32, all in bf16, and with the first in bf16 and the others in f32.
Where PyTorch refuses a mixture, there is no line.
"""

import json

import torch
import torch.nn.functional as F

DTYPES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float64: "f64"}
INDEX = torch.tensor([[0, 1, 2], [2, 1, 0]])
ROWS = torch.tensor([1, 0])
PARAMETERS = [torch.ones(3), torch.zeros(3)]  # of a batch norm, always f32

# Name in Taper: (function, shapes of its floating-point inputs).
OPS = {
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b), [(2, 3, 5, 5), (4, 3, 3, 3), (4,)]),
    "matmul": (torch.matmul, [(3, 4), (4, 5)]),
    "bmm": (torch.bmm, [(2, 3, 4), (2, 4, 5)]),
    "linear": (F.linear, [(3, 4), (5, 4), (5,)]),
    "cross_entropy": (lambda x: F.cross_entropy(x, torch.tensor([0, 2])), [(2, 3)]),
    "nll_loss": (lambda x: F.nll_loss(x, torch.tensor([0, 2])), [(2, 3)]),
    "mse_loss": (F.mse_loss, [(2, 3), (2, 3)]),
    "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, [(2, 3), (2, 3)]),
    "softmax": (lambda x: torch.softmax(x, 1), [(2, 3)]),
    "log_softmax": (lambda x: torch.log_softmax(x, 1), [(2, 3)]),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, *PARAMETERS, training=True), [(2, 3, 4, 4)]),
    "batch_norm + residual": (lambda x, r: F.batch_norm(x, None, None, *PARAMETERS, training=True) + r,
                              [(2, 3, 4, 4), (2, 3, 4, 4)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), [(2, 3, 4, 4)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), [(2, 3, 4, 4)]),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 1), [(2, 3, 4, 4)]),
    "index_select": (lambda x: torch.index_select(x, 0, ROWS), [(2, 3)]),
    "gather": (lambda x: torch.gather(x, 1, INDEX), [(2, 3)]),
    "scatter_add": (lambda x, s: torch.scatter_add(x, 1, INDEX, s), [(2, 3), (2, 3)]),
    "index_add": (lambda x, s: torch.index_add(x, 0, ROWS, s), [(2, 3), (2, 3)]),
    "cat": (lambda a, b: torch.cat([a, b]), [(2, 3), (2, 3)]),
    "stack": (lambda a, b: torch.stack([a, b]), [(2, 3), (2, 3)]),
    "flip": (lambda x: torch.flip(x, [0]), [(2, 3)]),
    "pad": (lambda x: F.pad(x, (1, 1)), [(2, 3)]),
    "where": (lambda a, b: torch.where(INDEX > 0, a, b), [(2, 3), (2, 3)]),
    "pow scalar": (lambda x: torch.pow(x, 2.0), [(2, 3)]),
    "leaky_relu": (F.leaky_relu, [(2, 3)]),
    "gelu": (F.gelu, [(2, 3)]),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), [(2, 3)]),
    "silu": (F.silu, [(2, 3)]),
    "clamp": (lambda x: torch.clamp(x, 0.2, 0.8), [(2, 3)]),
    "sum": (lambda x: torch.sum(x), [(2, 3)]),
    "sum axes": (lambda x: torch.sum(x, 1), [(2, 3)]),
    "mean": (torch.mean, [(2, 3)]),
    "var": (lambda x: torch.var(x, 1), [(2, 3)]),
    "std": (lambda x: torch.std(x, 1), [(2, 3)]),
    "norm": (lambda x: torch.linalg.vector_norm(x), [(2, 3)]),
    "amax": (torch.amax, [(2, 3)]),
    "view": (lambda x: x.view(3, 2), [(2, 3)]),
}
for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum"):
    OPS[name] = (getattr(torch, name), [(2, 3), (2, 3)])
for name in ("exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "abs", "neg", "sin", "cos", "erf", "relu",
             "sigmoid", "tanh"):
    OPS[name] = (getattr(torch, name), [(2, 3)])


def generate(folder) -> None:
    torch.manual_seed(0)
    lines = []
    for name, (function, shapes) in OPS.items():
        mixtures = [[torch.float32] * len(shapes), [torch.bfloat16] * len(shapes)]
        if len(shapes) > 1:
            mixtures.append([torch.bfloat16] + [torch.float32] * (len(shapes) - 1))
        for dtypes in mixtures:
            inputs = [(torch.rand(shape) + 0.1).to(dtype).requires_grad_() for shape, dtype in zip(shapes, dtypes)]
            try:
                with torch.autocast("cpu", torch.bfloat16):
                    y = function(*inputs)
                y.sum().backward()
            except RuntimeError:
                continue
            lines.append({"op": name, "shapes": shapes, "inputs": [DTYPES[x.dtype] for x in inputs],
                          "result": DTYPES[y.dtype], "gradients": [DTYPES[x.grad.dtype] for x in inputs]})
    (folder / "dtypes.json").write_text(json.dumps(lines))
