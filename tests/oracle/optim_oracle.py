"""Schedules of torch.optim.lr_scheduler, and optimizers with groups, late parameters and clipped gradients."""

import warnings

import torch
from cases import Cases
from torch.optim import lr_scheduler as S

STEPS = 30
LRS = [0.5, 0.02]


def record(optimizer, schedule, steps):
    """Returns learning rates and momenta, [steps + 1, groups] each."""
    lrs, momenta = [], []
    for step in range(steps + 1):
        lrs.append([group["lr"] for group in optimizer.param_groups])
        momenta.append([group["momentum"] for group in optimizer.param_groups])
        if step < steps:
            optimizer.step()
            schedule.step()
    return torch.tensor(lrs, dtype=torch.float64), torch.tensor(momenta, dtype=torch.float64)


def add_schedule(cases, op, options, make, steps=STEPS) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in LRS]
    optimizer = torch.optim.SGD(groups, lr=1, momentum=0.9)
    lr, momentum = record(optimizer, make(optimizer), steps)
    cases.add(op, options, lr=lr, momentum=momentum)


def add_schedules(cases) -> None:
    for size, gamma in ((1, 0.9), (7, 0.1)):
        options = {"step_size": size, "gamma": gamma}
        add_schedule(cases, "step", options, lambda o: S.StepLR(o, **options))
    for milestones in ([4, 9], [1], [5, 5, 20]):
        options = {"milestones": milestones, "gamma": 0.3}
        add_schedule(cases, "multi_step", options, lambda o: S.MultiStepLR(o, **options))
    for total, minimum in ((1, 0), (STEPS, 0), (13, 0.01)):
        options = {"total_steps": total, "min_lr": minimum}
        add_schedule(cases, "cosine", options, lambda o: S.CosineAnnealingLR(o, total, minimum))
    for total, start, end in ((5, 1 / 3, 1), (1, 0.1, 1), (12, 0.01, 0.7)):
        options = {"total_steps": total, "start_factor": start, "end_factor": end}
        add_schedule(cases, "linear", options, lambda o: S.LinearLR(o, start, end, total))
    for linear in (False, True):
        for three_phase in (False, True):
            for pct in (0.3, 0.45):
                for cycle in (False, True):
                    options = {"max_lr": [0.7, 0.1], "total_steps": STEPS, "pct_start": pct, "three_phase": three_phase,
                               "cycle_momentum": cycle, "div_factor": 10.0, "final_div_factor": 100.0}  # fmt: skip
                    strategy = "linear" if linear else "cos"
                    add_schedule(cases, "one_cycle", options | {"linear": linear},
                                 lambda o: S.OneCycleLR(o, anneal_strategy=strategy, **options), STEPS - 1)  # fmt: skip
    for warmup in (1, 6):
        options = {"warmup": warmup, "total_steps": STEPS - warmup, "start_factor": 0.01}
        add_schedule(cases, "warmup_cosine", options, lambda o: S.SequentialLR(
            o, [S.LinearLR(o, 0.01, 1, warmup), S.CosineAnnealingLR(o, STEPS - warmup)], [warmup]))  # fmt: skip


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
    warnings.simplefilter("ignore")
    torch.manual_seed(5)
    cases = Cases()
    add_schedules(cases)
    sgd = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}
    adamw = {"lr": 0.05, "weight_decay": 0.1}
    for op, kind, options in (("sgd", torch.optim.SGD, sgd), ("adamw", torch.optim.AdamW, adamw)):
        add_optimizer(cases, op, lambda groups: (
            kind([{"params": groups[0]}, {"params": groups[1], "lr": 0.01, "weight_decay": 0}], **options), options))
    add_ema(cases)
    cases.save(folder)
