"""Reductions and their gradients in PyTorch, for reduce_gradient_test.cpp."""

import pathlib

import torch

from cases import Cases, gradient

REDUCTIONS = {
    "sum": torch.sum, "mean": torch.mean,
    "norm": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 2, dim, keepdim),
    "var": lambda x, dim, keepdim: torch.var(x, dim, unbiased=True, keepdim=keepdim),
    "var0": lambda x, dim, keepdim: torch.var(x, dim, unbiased=False, keepdim=keepdim),
    "std": lambda x, dim, keepdim: torch.std(x, dim, unbiased=True, keepdim=keepdim),
    "amax": torch.amax, "amin": torch.amin,
}  # fmt: skip
SHAPES = {
    (): [[]],
    (1,): [[0]],
    (517,): [[0], [-1]],
    (3, 5): [[0], [1], [0, 1]],
    (2, 3, 5, 7): [[0, 2, 3], [1], [2, 3], [3], [-3], [0, 1, 2, 3]],
    (2, 1, 4): [[1], [1, 2]],
    (4, 300): [[1], [0]],
    (300, 4): [[1], [0]],
}


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(0)
    cases = Cases()

    def add(op, function, x, options):
        x = x.clone().requires_grad_(x.is_floating_point())
        y = function(x)
        y, indices = y if isinstance(y, tuple) else (y, None)
        grad_x = gradient(y, x) if y.requires_grad else None
        options = options | {"dtype": str(x.dtype), "shape": list(x.shape)}
        cases.add(op, options, x=x, y=y, indices=indices, grad_x=grad_x)

    for shape, axes_list in SHAPES.items():
        x = torch.randn(shape, dtype=torch.float64)
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            for axes in axes_list:
                for keepdim in (False, True):
                    options = {"axes": axes, "keepdim": keepdim}
                    for op, function in REDUCTIONS.items():
                        if op in ("var", "std") and x.numel() == 1 or not shape and op in ("amax", "amin"):
                            continue
                        # bf16 rounds elsewhere inside these formulas.
                        if dtype == torch.bfloat16 and op not in ("sum", "mean", "amax", "amin"):
                            continue
                        add(op, lambda t: function(t, axes, keepdim), x.to(dtype), options)
        # Whole numbers: ties everywhere.
        whole = (2 * x).round()
        for axes in axes_list:
            if shape:
                add("amax", lambda t: torch.amax(t, axes), whole, {"axes": axes})
                add("amin", lambda t: torch.amin(t, axes), whole, {"axes": axes})
            for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool):
                t = whole.abs().to(dtype)
                add("sum", lambda t: torch.sum(t, axes), t, {"axes": axes})
                if len(axes) == 1 and dtype != torch.uint8:  # for u8 PyTorch has its own rule: u8 results
                    add("any", lambda t: torch.any(t, axes[0]), t, {"axes": axes})
                    add("all", lambda t: torch.all(t, axes[0]), t, {"axes": axes})
        for axis in range(len(shape)):
            for keepdim in (False, True):
                options = {"axis": axis, "keepdim": keepdim}
                for t in (x, x.float(), whole, whole.to(torch.int32)):
                    add("max", lambda t: tuple(torch.max(t, axis, keepdim)), t, options)
                    add("min", lambda t: tuple(torch.min(t, axis, keepdim)), t, options)
                    add("argmax", lambda t: torch.argmax(t, axis, keepdim), t, options)
                    add("argmin", lambda t: torch.argmin(t, axis, keepdim), t, options)
            for k in (1, (shape[axis] + 1) // 2, shape[axis]):
                for largest in (True, False):
                    options = {"axis": axis, "k": k, "largest": largest}
                    add("topk", lambda t: tuple(torch.topk(t, k, axis, largest)), x, options)

    # Rows of one value have no spread; NaN and infinity must propagate.
    constant = torch.full((3, 4), 2.0, dtype=torch.float64)
    add("std", lambda t: torch.std(t, 1), constant, {"axes": [1]})
    add("norm", lambda t: torch.linalg.vector_norm(t, 2, 1), constant * 0, {"axes": [1]})
    special = torch.tensor([[1, float("nan"), 3], [float("inf"), 2, -1], [-float("inf"), 0, 5]])
    for op in ("sum", "mean", "amax", "amin"):
        cases.add(op, {"axes": [1], "special": True}, x=special, y=REDUCTIONS[op](special, [1], False))
    for op in ("argmax", "argmin"):
        cases.add(op, {"axis": 1, "special": True}, x=special, y=getattr(torch, op)(special, 1))
    cases.save(folder)
