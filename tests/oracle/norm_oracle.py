"""torch.nn.functional.batch_norm, then residual and ReLU: forward, backward, running statistics."""

import pathlib

import torch
import torch.nn.functional as F
from cases import Cases, weights_like

SHAPES = [[4, 3, 5, 6], [2, 70, 3, 3], [9, 5, 1, 1], [7, 6], [3, 2, 40, 41]]


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(6)
    cases = Cases()
    for dtype in [torch.float32, torch.float64]:
        for shape in SHAPES:
            for training, affine, residual, relu in [
                (True, True, False, False), (True, False, False, False), (True, True, True, True),
                (True, True, False, True), (False, True, True, True), (False, False, False, False),
            ]:  # fmt: skip
                channels = shape[1]
                x = (torch.randn(shape, dtype=dtype) * 2 + 1).requires_grad_()
                weight = torch.randn(channels, dtype=dtype, requires_grad=True) if affine else None
                bias = (torch.randn(channels, dtype=dtype) / 4).requires_grad_() if affine else None
                other = torch.randn(shape, dtype=dtype, requires_grad=True) if residual else None
                mean, var = torch.randn(channels, dtype=dtype), torch.rand(channels, dtype=dtype) + 0.5
                before = {"running_mean": mean.clone(), "running_var": var.clone()}
                y = F.batch_norm(x, mean, var, weight, bias, training, momentum=0.2, eps=1e-4)
                if residual:
                    y = y + other
                if relu:
                    y = F.relu(y)
                y.backward(weights_like(y))
                grads = {f"grad_{name}": t.grad for name, t in
                         {"x": x, "weight": weight, "bias": bias, "residual": other}.items() if t is not None}  # fmt: skip
                cases.add("batch_norm", {"training": training, "relu": relu, "momentum": 0.2, "eps": 1e-4}, x=x,
                          weight=weight, bias=bias, residual=other, y=y, mean_after=mean, var_after=var, **before, **grads)  # fmt: skip
    cases.save(folder)
