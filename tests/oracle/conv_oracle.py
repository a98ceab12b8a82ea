"""torch.nn.functional.conv2d, forward and backward, in four dtypes (half types: computed in f32, rounded once)."""

import pathlib

import torch
import torch.nn.functional as F
from cases import Cases, weights_like

CASES = [
    # input, output channels, kernel, stride, padding, dilation, groups, bias
    ([2, 3, 7, 6], 4, [3, 3], [1, 1], [1, 1], [1, 1], 1, True),
    ([2, 5, 9, 8], 3, [3, 3], [2, 2], [1, 1], [1, 1], 1, False),
    ([2, 3, 23, 20], 8, [7, 7], [2, 2], [3, 3], [1, 1], 1, False),
    ([3, 16, 4, 5], 8, [1, 1], [1, 1], [0, 0], [1, 1], 1, True),
    ([3, 6, 5, 7], 4, [1, 1], [2, 2], [0, 0], [1, 1], 1, False),
    ([40, 6, 1, 1], 5, [3, 3], [1, 1], [1, 1], [1, 1], 1, False),
    ([66, 4, 2, 2], 5, [3, 3], [1, 1], [1, 1], [1, 1], 1, False),
    ([2, 3, 8, 11], 4, [2, 5], [1, 3], [0, 2], [1, 1], 1, True),
    ([2, 4, 12, 13], 6, [3, 2], [2, 1], [1, 2], [3, 2], 2, True),
    ([2, 6, 7, 7], 6, [3, 3], [1, 1], [1, 1], [1, 1], 6, True),
    ([1, 130, 5, 5], 140, [3, 3], [1, 1], [1, 1], [1, 1], 1, False),
    ([0, 3, 5, 5], 4, [3, 3], [1, 1], [1, 1], [1, 1], 1, False),
]  # fmt: skip


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(1)
    cases = Cases()
    for shape, channels, kernel, stride, padding, dilation, groups, has_bias in CASES:
        for dtype in [torch.float32, torch.float64, torch.float16, torch.bfloat16]:
            x, weight = torch.randn(shape).to(dtype), torch.randn([channels, shape[1] // groups] + kernel).to(dtype)
            bias = torch.randn(channels).to(dtype) if has_bias else None
            wide = torch.float64 if dtype == torch.float64 else torch.float32
            inputs = [t.to(wide).requires_grad_() if t is not None else None for t in (x, weight, bias)]
            y = F.conv2d(*inputs, stride, padding, dilation, groups)
            grad = weights_like(y.to(dtype)).to(wide)
            y.backward(grad)
            names = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
            cases.add("conv2d", names, x=x, weight=weight, bias=bias, y=y.to(dtype), grad_x=inputs[0].grad.to(dtype),
                      grad_weight=inputs[1].grad.to(dtype), grad_bias=inputs[2].grad.to(dtype) if has_bias else None)  # fmt: skip
    cases.save(folder)
