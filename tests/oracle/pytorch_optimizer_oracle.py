"""Checkpoints of torch.optim in the middle of a training, and the parameters where it ends; and the way back:

  pytorch_optimizer_oracle.py FOLDER    continues from the states that tests/nn/pytorch_optimizer_test.cpp wrote there
"""

import pathlib
import sys

import torch

STEPS, AFTER = 5, 3
SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
KINDS = {
    "sgd": lambda groups: torch.optim.SGD(groups, **SGD),
    "plain": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.05, weight_decay=0.01),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.05, weight_decay=0.01),
}


def make(kind, params):
    return KINDS[kind]([{"params": params[:2]}, {"params": params[2:], "lr": 0.02, "weight_decay": 0.1}])


def train(kind, folder, late) -> None:
    """late: the last parameter has no gradient before the checkpoint."""
    name = kind + ("-late" if late else "")
    torch.manual_seed(3)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ([3, 4], [5], [2, 3, 2, 2])]
    grads = [[torch.randn_like(p) for p in params] for _ in range(STEPS)]
    optimizer = make(kind, params)
    saved = {}
    for step in range(STEPS):
        if step == AFTER:
            saved = {"params": {str(i): p.detach().clone() for i, p in enumerate(params)}}
            torch.save(optimizer.state_dict(), folder / f"{name}.pth")
        for i, p in enumerate(params):
            p.grad = None if late and i == 2 and step < AFTER else grads[step][i].clone()
        optimizer.step()
    saved["grads"] = {f"{step}.{i}": g for step in range(AFTER, STEPS) for i, g in enumerate(grads[step])}
    saved["results"] = {str(i): p.detach() for i, p in enumerate(params)}
    torch.save(saved, folder / f"{name}-training.pth")


def generate(folder) -> None:
    for kind in KINDS:
        train(kind, folder, late=False)
        train(kind, folder, late=True)


def continue_from_taper(folder) -> int:
    states = sorted(folder.glob("*-of-taper.pth"))
    for path in states:
        name = path.name.removesuffix("-of-taper.pth")
        training = torch.load(folder / f"{name}-training.pth")
        params = [torch.nn.Parameter(p) for p in training["params"].values()]
        optimizer = make(name.removesuffix("-late"), params)
        weights_only = not torch.__version__.startswith("1.13")  # that one knows no numbers with a point
        optimizer.load_state_dict(torch.load(path, weights_only=weights_only))
        for step in range(AFTER, STEPS):
            for i, p in enumerate(params):
                p.grad = training["grads"][f"{step}.{i}"].clone()
            optimizer.step()
        for p, expected in zip(params, training["results"].values()):
            torch.testing.assert_close(p.detach(), expected, rtol=1e-6, atol=1e-7)
        print(f"{name}: PyTorch continues from Taper's state as from its own")
    return 0 if len(states) == 8 else f"{len(states)} states of Taper's instead of 8: run compare_pytorch_optimizer"


if __name__ == "__main__":
    sys.exit(continue_from_taper(pathlib.Path(sys.argv[1])))
