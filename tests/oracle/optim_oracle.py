"""Optimizers with groups, late parameters and clipped gradients; averaged weights."""

import torch
from cases import Cases

def add_optimizer(cases, op, make) -> None:
    """Two groups; the last parameter of each gets its first gradient in step 2, and none in step 4."""
    shapes = [[3, 4], [5], [2, 2]]
    groups = [[torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in shapes] for _ in range(2)]
    flat = groups[0] + groups[1]
    tensors = {f"param{i}": p.detach().clone() for i, p in enumerate(flat)}
    optimizer, options = make(groups)
    for step in range(6):
        optimizer.zero_grad(set_to_none=True)
        for i, p in enumerate(flat):
            if i % 3 == 2 and (step < 2 or step == 4):
                continue
            p.grad = torch.randn_like(p)
            tensors[f"grad{step}_{i}"] = p.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(flat, 3.0)
        tensors[f"norm{step}"] = norm
        optimizer.step()
    tensors |= {f"result{i}": p.detach() for i, p in enumerate(flat)}
    cases.add(op, options, **tensors)


def add_ema(cases) -> None:
    param = torch.nn.Parameter(torch.randn(3, 4))
    average = torch.optim.swa_utils.AveragedModel(
        torch.nn.ParameterList([param]), avg_fn=lambda a, p, n: 0.9 * a + (1 - 0.9) * p
    )
    values = []
    for _ in range(4):
        param.data = torch.randn(3, 4)
        values.append(param.detach().clone())
        average.update_parameters(torch.nn.ParameterList([param]))
    cases.add("ema", {"decay": 0.9}, y=next(average.module.parameters()).detach(),
              **{f"value{i}": value for i, value in enumerate(values)})  # fmt: skip


def generate(folder) -> None:
    torch.manual_seed(5)
    cases = Cases()
    sgd = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}
    adamw = {"lr": 0.05, "weight_decay": 0.1}
    kinds = (("sgd", torch.optim.SGD, sgd), ("adamw", torch.optim.AdamW, adamw), ("adam", torch.optim.Adam, adamw))
    for op, kind, options in kinds:
        add_optimizer(cases, op, lambda groups: (
            kind([{"params": groups[0]}, {"params": groups[1], "lr": 0.01, "weight_decay": 0}], **options), options))
    add_ema(cases)
    cases.save(folder)
