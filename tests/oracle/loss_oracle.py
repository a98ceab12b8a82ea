"""PyTorch's losses over shapes, options and dtypes."""

import itertools

import torch
import torch.nn.functional as F
from cases import Cases, gradient

# logits, with the target's shape beside it
SHAPES = [
    ([1, 1], [1]),
    ([5], []),
    ([7, 3], [7]),
    ([17, 1000], [17]),
    ([3, 5, 4], [3, 4]),
    ([2, 11, 3, 5], [2, 3, 5]),
    ([2, 4, 3, 1, 2], [2, 3, 1, 2]),
    ([2, 5, 13, 11], [2, 13, 11]),
]
REDUCTIONS = ["mean", "sum", "none"]


def targets(shape, classes, ignored=None):
    target = torch.randint(0, classes, shape)
    if ignored is not None and target.numel() > 1:
        target.view(-1)[::3] = ignored
    return target


def add_cross_entropy(cases, shape, target_shape, dtype, weighted, ignored, smoothing, reduction):
    classes = shape[0] if len(shape) == 1 else shape[1]
    logits = (torch.randn(shape, dtype=torch.float64) * 3).to(dtype).requires_grad_()
    weight = torch.rand(classes, dtype=dtype) + 0.5 if weighted else None
    target = targets(target_shape, classes, ignored)
    options = {"reduction": reduction, "ignore_index": -100 if ignored is None else ignored, "label_smoothing": smoothing}
    y = F.cross_entropy(logits, target, weight, **options)
    cases.add("cross_entropy", options, logits=logits, target=target, weight=weight, y=y, grad=gradient(y, logits))


def add_soft_cross_entropy(cases, shape, dtype, weighted, smoothing, reduction):
    """With class probabilities as target; every third position has a target of one class."""
    axis = 0 if len(shape) == 1 else 1
    logits = (torch.randn(shape, dtype=torch.float64) * 3).to(dtype).requires_grad_()
    weight = torch.rand(shape[axis], dtype=dtype) + 0.5 if weighted else None
    target = (torch.randn(shape, dtype=torch.float64) * 2).softmax(axis)
    if axis == 1:
        one_class = torch.zeros_like(target[::3]).index_fill(axis, torch.tensor([0]), 1)
        target[::3] = one_class
    target = target.to(dtype)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    y = F.cross_entropy(logits, target, weight, **options)
    cases.add("soft_cross_entropy", options, logits=logits, target=target, weight=weight, y=y, grad=gradient(y, logits))


def generate(folder) -> None:
    torch.manual_seed(2)
    cases = Cases()
    for (shape, target_shape), weighted, ignored, smoothing, reduction in itertools.product(
        SHAPES, (False, True), (None, -100, 0), (0.0, 0.1), REDUCTIONS
    ):
        add_cross_entropy(cases, shape, target_shape, torch.float64, weighted, ignored, smoothing, reduction)
    for (shape, target_shape), smoothing, reduction in itertools.product(SHAPES, (0.0, 0.1, 1.0), REDUCTIONS):
        add_cross_entropy(cases, shape, target_shape, torch.float32, smoothing == 0.1, -100, smoothing, reduction)

    for (shape, _), dtype, weighted, smoothing, reduction in itertools.product(
        SHAPES, (torch.float32, torch.float64), (False, True), (0.0, 0.1), REDUCTIONS
    ):
        add_soft_cross_entropy(cases, shape, dtype, weighted, smoothing, reduction)

    for (shape, target_shape), weighted, ignored, reduction in itertools.product(
        SHAPES, (False, True), (None, 0), REDUCTIONS
    ):
        if len(shape) == 1:
            continue  # PyTorch 1.13's backward of nll_loss rejects an unbatched "none"
        x = torch.randn(shape, dtype=torch.float64).log_softmax(1).requires_grad_()
        weight = torch.rand(shape[1], dtype=torch.float64) + 0.5 if weighted else None
        target = targets(target_shape, shape[1], ignored)
        options = {"reduction": reduction, "ignore_index": -100 if ignored is None else ignored}
        y = F.nll_loss(x, target, weight, **options)
        cases.add("nll_loss", options, log_probs=x, target=target, weight=weight, y=y, grad=gradient(y, x))

    for shape, reduction, dtype in itertools.product(
        [[], [1], [7], [3, 5], [2, 3, 5, 1]], REDUCTIONS, (torch.float32, torch.float64)
    ):
        for loss in (F.mse_loss, F.binary_cross_entropy_with_logits):
            x = (torch.randn(shape, dtype=dtype) * 5).requires_grad_()
            t = torch.rand(shape, dtype=dtype).requires_grad_()
            y = loss(x, t, reduction=reduction)
            grad, grad_target = gradient(y, x, t)
            cases.add(loss.__name__, {"reduction": reduction}, x=x, target=t, y=y, grad=grad, grad_target=grad_target)
    cases.save(folder)
