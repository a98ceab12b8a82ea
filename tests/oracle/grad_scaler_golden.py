"""Writes tests/data/grad_scaler.txt: loss scales of PyTorch's GradScaler over 5,000 updates with overflows.

    python3 tests/oracle/grad_scaler_golden.py > tests/data/grad_scaler.txt

Needs torch 2.3 or newer, whose GradScaler runs on the CPU; Debian's is 1.13, so the file is kept in the tree. A block
for each set of options: "options init_scale growth_factor backoff_factor growth_interval", then "update scale tracker"
for each update (from 1) that changed the scale, and "end scale tracker parameter". Update i overflows if
overflows(i); else it subtracts 1 from the parameter, which begins at 0.
"""

import torch

UPDATES = 5000
OPTIONS = [(65536.0, 2.0, 0.5, 2000), (65536.0, 2.0, 0.5, 20), (3.0, 1.7, 0.3, 7), (1e30, 2.0, 0.9, 50), (1.0, 1.1, 0.3, 40)]


def overflows(i: int) -> bool:
    """Now and then, and 20 times in a row."""
    return i * i % 1009 == 4 or 3000 <= i < 3020


def main() -> None:
    print(f"# torch {torch.__version__}, tests/oracle/grad_scaler_golden.py")
    for init, growth, backoff, interval in OPTIONS:
        print(f"options {init!r} {growth!r} {backoff!r} {interval}")
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1)
        scaler = torch.amp.GradScaler("cpu", init, growth, backoff, interval)
        before = init
        for i in range(1, UPDATES + 1):
            scaler.scale(parameter.sum())
            parameter.grad = torch.full((1,), float("inf")) if overflows(i) else scaler._scale.clone().reshape(1)
            scaler.step(optimizer)
            scaler.update()
            state = scaler.state_dict()
            if state["scale"] != before:
                before = state["scale"]
                print(i, f"{before:.9g}", state["_growth_tracker"])
        print("end", f"{before:.9g}", state["_growth_tracker"], parameter.item())


main()
