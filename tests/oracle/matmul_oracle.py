"""torch.matmul, bmm and linear, forward and backward."""

import pathlib

import torch
from cases import Cases, gradient

MATMUL = [
    ([5], [5]), ([3], [3, 4]), ([4, 3], [3]), ([4, 3], [3, 7]), ([2, 4, 3], [3]), ([2, 4, 3], [3, 5]),
    ([3], [2, 3, 5]), ([4, 3], [2, 3, 5]), ([2, 1, 4, 3], [5, 3, 2]), ([130, 90], [90, 260]), ([2, 0, 3], [3, 5]),
]  # fmt: skip


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(2)
    cases = Cases()
    for dtype in [torch.float32, torch.float64]:

        def randn(shape):
            return torch.randn(shape, dtype=dtype, requires_grad=True)

        for left, right in MATMUL:
            a, b = randn(left), randn(right)
            c = torch.matmul(a, b)
            grad_a, grad_b = gradient(c, a, b)
            cases.add("matmul", {}, a=a, b=b, c=c, grad_a=grad_a, grad_b=grad_b)
        a, b = randn([4, 3, 5]), randn([4, 5, 2])
        c = torch.bmm(a, b)
        grad_a, grad_b = gradient(c, a, b)
        cases.add("bmm", {}, a=a, b=b, c=c, grad_a=grad_a, grad_b=grad_b)
        for shape in [[6], [4, 6], [2, 3, 6], [0, 6]]:
            x, weight, bias = randn(shape), randn([5, 6]), randn([5])
            y = torch.nn.functional.linear(x, weight, bias)
            grad_x, grad_weight, grad_bias = gradient(y, x, weight, bias)
            cases.add("linear", {}, x=x, weight=weight, bias=bias, y=y, grad_x=grad_x, grad_weight=grad_weight,
                      grad_bias=grad_bias)  # fmt: skip
    cases.save(folder)
