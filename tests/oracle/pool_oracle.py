"""Max, average and adaptive average pooling, forward and backward."""

import pathlib

import torch
import torch.nn.functional as F
from cases import Cases, gradient

WINDOWS = [
    # input, kernel, stride, padding, dilation, ceil_mode
    ([2, 3, 8, 6], [2, 2], [2, 2], [0, 0], [1, 1], False),
    ([2, 3, 9, 11], [3, 3], [2, 2], [1, 1], [1, 1], False),
    ([2, 3, 9, 11], [3, 3], [2, 2], [1, 1], [1, 1], True),
    ([1, 5, 7, 8], [3, 2], [3, 1], [1, 0], [1, 1], True),
    ([1, 2, 5, 6], [2, 2], [3, 3], [1, 1], [1, 1], True),
    ([2, 2, 9, 10], [3, 2], [2, 1], [1, 1], [2, 3], False),
    ([1, 4, 10, 9], [4, 3], [2, 3], [2, 1], [1, 1], True),
    ([3, 70, 4, 4], [4, 4], [4, 4], [0, 0], [1, 1], False),
    ([0, 3, 4, 4], [2, 2], [2, 2], [0, 0], [1, 1], False),
]  # fmt: skip


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(3)
    cases = Cases()
    for dtype in [torch.float32, torch.float64]:
        for shape, kernel, stride, padding, dilation, ceil_mode in WINDOWS:
            options = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
            # Small integers, so that equal maxima occur.
            x = torch.randint(-6, 7, shape).to(dtype).requires_grad_()
            y, indices = F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
            cases.add("max_pool2d", options | {"dilation": dilation}, x=x, y=y, indices=indices, grad_x=gradient(y, x))
            if dilation != [1, 1]:
                continue
            for count_include_pad in [True, False]:
                x = torch.randn(shape, dtype=dtype, requires_grad=True)
                y = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad)
                cases.add("avg_pool2d", options | {"count_include_pad": count_include_pad}, x=x, y=y, grad_x=gradient(y, x))
        for shape, size in [([2, 3, 7, 7], [1, 1]), ([2, 3, 7, 5], [3, 2]), ([1, 4, 3, 4], [5, 7]), ([2, 2, 6, 6], [6, 6])]:
            x = torch.randn(shape, dtype=dtype, requires_grad=True)
            y = F.adaptive_avg_pool2d(x, size)
            cases.add("adaptive_avg_pool2d", {"size": size}, x=x, y=y, grad_x=gradient(y, x))
    cases.save(folder)
