"""torch.nn's layers: from a state dict and an input to output, gradients and the state after a forward pass."""

import pathlib

import torch
from cases import Cases, weights_like
from torch import nn


def add(cases: Cases, op: str, options: dict, layer: nn.Module, x: torch.Tensor, training: bool = True) -> None:
    layer.double().train(training)
    state = {f"state/{name}": tensor.clone() for name, tensor in layer.state_dict().items()}
    x = x.double().requires_grad_()
    y = layer(x)
    y.backward(weights_like(y))
    grads = {f"grad/{name}": parameter.grad for name, parameter in layer.named_parameters()}
    after = {f"after/{name}": tensor for name, tensor in layer.state_dict().items()}
    cases.add(op, options | {"training": training}, x=x, y=y, grad_x=x.grad, **state, **grads, **after)


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(5)
    cases = Cases()
    image = torch.randn(3, 4, 7, 9)

    add(cases, "Linear", {"in": 6, "out": 5, "bias": True}, nn.Linear(6, 5), torch.randn(4, 6))
    add(cases, "Linear", {"in": 6, "out": 5, "bias": False}, nn.Linear(6, 5, bias=False), torch.randn(2, 3, 6))

    for size, stride, padding, dilation, groups, bias in [
        (3, 1, 1, 1, 1, True), (1, 2, 0, 1, 1, False), (3, 2, 1, 1, 2, True), (3, 1, 2, 2, 4, False),
    ]:  # fmt: skip
        options = {"size": size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        layer = nn.Conv2d(4, 8, size, stride, padding, dilation, groups, bias)
        add(cases, "Conv2d", options | {"bias": bias}, layer, image)

    for training in [True, False]:
        norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3)
        for tensor in [norm.weight.data, norm.running_var]:
            tensor.uniform_(0.5, 1.5)
        for tensor in [norm.bias.data, norm.running_mean]:
            tensor.normal_()
        norm.num_batches_tracked.fill_(41)
        add(cases, "BatchNorm2d", {"eps": 1e-3, "momentum": 0.3}, norm, image, training)

    add(cases, "MaxPool2d", {"size": 3, "stride": 2, "padding": 1}, nn.MaxPool2d(3, 2, 1), image)
    add(cases, "MaxPool2d", {"size": 2, "stride": 2, "padding": 0}, nn.MaxPool2d(2), image)
    add(cases, "AvgPool2d", {"size": 3, "stride": 2, "padding": 1}, nn.AvgPool2d(3, 2, 1), image)
    add(cases, "AvgPool2d", {"size": 2, "stride": 2, "padding": 0}, nn.AvgPool2d(2), image)
    add(cases, "AdaptiveAvgPool2d", {"height": 1, "width": 1}, nn.AdaptiveAvgPool2d(1), image)
    add(cases, "AdaptiveAvgPool2d", {"height": 3, "width": 4}, nn.AdaptiveAvgPool2d((3, 4)), image)
    add(cases, "ReLU", {}, nn.ReLU(), image)
    add(cases, "Identity", {}, nn.Identity(), image)
    add(cases, "Flatten", {"first": 1, "last": -1}, nn.Flatten(), image)
    add(cases, "Flatten", {"first": 0, "last": 1}, nn.Flatten(0, 1), image)
    chain = nn.Sequential(nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(70, 3))
    add(cases, "Sequential", {}, chain, image)
    cases.save(folder)
