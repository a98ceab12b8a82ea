"""torchvision's ResNets: names and shapes of their tensors, and results for given weights.

names.json: {"resnet18": [[name, shape], ...] in torchvision's order, parameters first, ...}
ARCH_weights.safetensors: a state dict with zero_init_residual=True, rounded to bf16 (which any float dtype holds).
ARCH_zero.safetensors, ARCH_random.safetensors: inputs and results in f64, for those weights and for them with
other batch norms ("norm/NAME"). Long tensors are thinned by thin() so that the files stay small.
"""

import json
import pathlib

import torch
import torchvision
from cases import save_safetensors

ARCHITECTURES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CLASSES = 10


def thin(tensor: torch.Tensor) -> torch.Tensor:
    """Returns at most some 8192 elements, evenly spaced in row-major order."""
    return tensor.detach().flatten()[:: max(1, tensor.numel() // 4096)]


def names(architecture: str) -> list:
    model = torchvision.models.get_model(architecture)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [[name, list(tensor.shape)] for name, tensor in tensors]


def run(model: torch.nn.Module, x: torch.Tensor, target: torch.Tensor) -> dict:
    """Returns evaluation logits, then the loss, gradients and running statistics of one training step."""
    model.eval()
    result = {"x": x, "target": target, "eval_logits": model(x)}
    model.train()
    logits = model(x)
    loss = torch.nn.functional.cross_entropy(logits, target)
    loss.backward()
    result |= {"logits": logits, "loss": loss}
    result |= {f"grad/{name}": thin(p.grad) for name, p in model.named_parameters()}
    result |= {f"norm_of_grad/{name}": p.grad.norm() for name, p in model.named_parameters()}
    result |= {f"after/{name}": buffer for name, buffer in model.named_buffers()}
    return {name: tensor.detach().clone() for name, tensor in result.items()}


def random_norms(model: torch.nn.Module) -> dict:
    """Sets batch norms in `model` as training might leave them, and returns them by name."""
    changed = {}
    for name, tensor in model.state_dict().items():
        if tensor.dim() != 1 or name.startswith("fc."):
            continue
        positive = name.endswith(("weight", "running_var"))
        tensor.copy_((torch.rand_like(tensor) + 0.5 if positive else torch.randn_like(tensor) * 0.1).bfloat16())
        changed[f"norm/{name}"] = tensor.bfloat16()
    return changed


def generate(folder: pathlib.Path) -> None:
    (folder / "names.json").write_text(json.dumps({name: names(name) for name in ARCHITECTURES}))
    for architecture in ["resnet18", "resnet50"]:
        torch.manual_seed(3)
        model = torchvision.models.get_model(architecture, num_classes=CLASSES, zero_init_residual=True)
        state = {n: t.bfloat16() if t.is_floating_point() else t.clone() for n, t in model.state_dict().items()}
        save_safetensors(folder / f"{architecture}_weights.safetensors", state)
        model.double().load_state_dict(state)
        x = torch.randn(8, 3, 32, 32).double()
        target = torch.arange(8) % CLASSES

        save_safetensors(folder / f"{architecture}_zero.safetensors", run(model, x, target))
        model.load_state_dict(state)
        model.zero_grad()
        norms = random_norms(model)
        save_safetensors(folder / f"{architecture}_random.safetensors", norms | run(model, x, target))
