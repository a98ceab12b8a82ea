"""PyTorch's indexing, joining and padding."""

import torch
import torch.nn.functional as F
from cases import Cases, gradient

SHAPES = [[1], [7], [3, 4], [2, 3, 5], [2, 4, 3, 5]]
DTYPES = [torch.float32, torch.float64]


def add_slices(cases, shape, axis, dtype) -> None:
    x = torch.randn(shape, dtype=dtype).requires_grad_()
    for count in (0, 1, 9):
        index = torch.randint(0, shape[axis], [count])
        y = torch.index_select(x, axis, index)
        cases.add("index_select", {"axis": axis}, x=x, index=index, y=y, grad_x=gradient(y, x))
        source = torch.randn(y.shape, dtype=dtype).requires_grad_()
        y = torch.index_add(x, axis, index, source)
        grad_x, grad_source = gradient(y, x, source)
        cases.add("index_add", {"axis": axis}, x=x, index=index, source=source, y=y, grad_x=grad_x,
                  grad_source=grad_source)  # fmt: skip


def add_elements(cases, shape, axis, dtype) -> None:
    x = torch.randn(shape, dtype=dtype).requires_grad_()
    smaller = [max(size - 1, 1) for size in shape]
    for index_shape in (shape, smaller, shape[:axis] + [11] + shape[axis + 1 :]):
        index = torch.randint(0, shape[axis], index_shape)
        y = torch.gather(x, axis, index)
        cases.add("gather", {"axis": axis}, x=x, index=index, y=y, grad_x=gradient(y, x))
        source = torch.randn(index_shape, dtype=dtype).requires_grad_()
        y = torch.scatter_add(x, axis, index, source)
        grad_x, grad_source = gradient(y, x, source)
        cases.add("scatter_add", {"axis": axis}, x=x, index=index, source=source, y=y, grad_x=grad_x,
                  grad_source=grad_source)  # fmt: skip


def add_joined(cases, shape, axis) -> None:
    sizes = [1, 3, 0, 2]
    parts = [torch.randn(shape[:axis] + [size] + shape[axis + 1 :]).requires_grad_() for size in sizes]
    y = torch.cat(parts, axis)
    grads = gradient(y, *parts)
    named = {f"x{i}": part for i, part in enumerate(parts)} | {f"grad{i}": grad for i, grad in enumerate(grads)}
    cases.add("cat", {"axis": axis}, y=y, **named)
    parts = [torch.randn(shape).requires_grad_() for _ in range(3)]
    y = torch.stack(parts, axis)
    grads = gradient(y, *parts)
    named = {f"x{i}": part for i, part in enumerate(parts)} | {f"grad{i}": grad for i, grad in enumerate(grads)}
    cases.add("stack", {"axis": axis}, y=y, **named)


def generate(folder) -> None:
    torch.manual_seed(3)
    cases = Cases()
    for shape in SHAPES:
        for axis in range(len(shape)):
            for dtype in DTYPES:
                add_slices(cases, shape, axis, dtype)
                add_elements(cases, shape, axis, dtype)
            add_joined(cases, shape, axis)
        x = torch.randn(shape).requires_grad_()
        for axes in ([], [0], list(range(len(shape)))):
            y = torch.flip(x, axes)
            cases.add("flip", {"axes": axes}, x=x, y=y, grad_x=gradient(y, x))
        for padding in ([0, 0], [1, 2], [2, 0, 1, 3], [1, 1, 0, 2, 3, 0]):
            if len(padding) <= 2 * len(shape):
                y = F.pad(x, padding, value=0.5)
                cases.add("pad", {"padding": padding, "value": 0.5}, x=x, y=y, grad_x=gradient(y, x))
        index = torch.randint(0, 5, shape)
        cases.add("one_hot", {"classes": 5}, index=index, y=F.one_hot(index, 5))
    cases.save(folder)
