"""torch.softmax and log_softmax over odd shapes, every axis, every float dtype and both layouts."""

import torch
from cases import Cases, gradient

SHAPES = [[], [1], [7], [1, 1], [5, 1], [3, 4], [17, 1000], [2, 3, 5], [2, 5, 3, 7]]


def generate(folder) -> None:
    torch.manual_seed(1)
    cases = Cases()
    for op in (torch.softmax, torch.log_softmax):
        for shape in SHAPES:
            for axis in range(max(len(shape), 1)):
                for dtype in (torch.float32, torch.float64):
                    x = (torch.randn(shape, dtype=dtype) * 4).requires_grad_()
                    y = op(x, axis)
                    cases.add(op.__name__, {"axis": axis}, x=x, y=y, grad_x=gradient(y, x))
        # Half types: computed wider, rounded once.
        for dtype in (torch.float16, torch.bfloat16):
            x = (torch.randn(13, 37) * 4).to(dtype).requires_grad_()
            y = op(x.float(), -1).to(dtype)
            cases.add(op.__name__, {"axis": -1}, x=x, y=y, grad_x=gradient(y, x))
        # Values whose exponentials overflow.
        x = torch.tensor([[1000.0, 1001.0, 999.0], [-1e4, 0.0, 1.0], [3e38, 3e38, -3e38]]).requires_grad_()
        y = op(x, 1)
        cases.add(op.__name__, {"axis": 1}, x=x, y=y, grad_x=gradient(y, x))
    cases.save(folder)
