"""Schedules of torch.optim.lr_scheduler."""

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
    for gamma in (0.9, 0.5):
        add_schedule(cases, "exponential", {"gamma": gamma}, lambda o: S.ExponentialLR(o, gamma))
    for total, power in ((STEPS, 1), (13, 2), (7, 0.5)):
        options = {"total_steps": total, "power": power}
        add_schedule(cases, "polynomial", options, lambda o: S.PolynomialLR(o, total, power))


def add_plateaus(cases) -> None:
    """Scores fall, stall, jump, are NaN and infinite. Learning rates after each, [scores, groups]."""
    fall = [1 / (1 + step) for step in range(6)]
    scores = fall + [fall[-1]] * 7 + [0.16, 0.1, 0.09999, float("nan"), 0.2, float("inf"), 0.1, 0.05] + [0.05] * 8
    usual = {"mode": "min", "factor": 0.1, "patience": 2, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0,
             "min_lr": 0, "eps": 1e-8}  # fmt: skip
    changes = [{}, {"patience": 0}, {"cooldown": 2}, {"min_lr": 0.01}, {"factor": 0.5, "patience": 1}, {"eps": 0.1},
               {"threshold": 0.5}, {"threshold": 0.03, "threshold_mode": "abs"}]  # fmt: skip
    changes += [{"mode": "max", "patience": 1} | change for change in ({}, *changes[-3:])]
    for change in changes:
        for sign in (1, -1):  # bounds that are shares of a negative score
            options = usual | change
            parameter = [torch.nn.Parameter(torch.zeros(1))]
            optimizer = torch.optim.SGD([{"params": parameter, "lr": LRS[0]},
                                         {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": LRS[1]}], lr=1)  # fmt: skip
            schedule = S.ReduceLROnPlateau(optimizer, **options)
            lrs = []
            for score in scores:
                schedule.step(sign * score)
                lrs.append([group["lr"] for group in optimizer.param_groups])
            cases.add("plateau", options, lr=torch.tensor(lrs, dtype=torch.float64),
                      scores=sign * torch.tensor(scores, dtype=torch.float64))  # fmt: skip


def generate(folder) -> None:
    warnings.simplefilter("ignore")
    cases = Cases()
    add_schedules(cases)
    add_plateaus(cases)
    cases.save(folder)
