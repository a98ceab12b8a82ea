"""conv2d of relu(x * scale + shift), forward and backward, in four dtypes (half types: computed in f32, rounded once)."""

import pathlib

import torch
import torch.nn.functional as F
from cases import Cases, weights_like

CASES = [
    # input, output channels, kernel, stride, padding, groups, relu
    ([2, 3, 7, 6], 4, 3, 1, 1, 1, True),
    ([2, 16, 6, 5], 16, 3, 1, 1, 1, True),
    ([3, 16, 4, 5], 8, 1, 1, 0, 1, True),
    ([2, 6, 5, 7], 4, 1, 2, 0, 2, False),
    ([2, 6, 7, 7], 6, 3, 2, 1, 6, True),
]  # fmt: skip


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(1)
    cases = Cases()
    for shape, channels, kernel, stride, padding, groups, relu in CASES:
        for dtype in [torch.float32, torch.float64, torch.float16, torch.bfloat16]:
            make = lambda shape: torch.randn(shape).to(dtype)  # noqa: E731
            values = [make(shape), make([channels, shape[1] // groups, kernel, kernel]), make([shape[1]]), make([shape[1]])]
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            x, weight, scale, shift = inputs = [value.to(wide).requires_grad_() for value in values]
            z = x * scale[:, None, None] + shift[:, None, None]
            y = F.conv2d(F.relu(z) if relu else z, weight, None, stride, padding, 1, groups)
            y.backward(weights_like(y.to(dtype)).to(wide))
            grads = [value.grad.to(dtype) for value in inputs]
            cases.add("prologue", {"stride": stride, "padding": padding, "groups": groups, "relu": int(relu)},
                      x=values[0], weight=values[1], scale=values[2], shift=values[3], y=y.to(dtype),
                      grad_x=grads[0], grad_weight=grads[1], grad_scale=grads[2], grad_shift=grads[3])  # fmt: skip
    cases.save(folder)
