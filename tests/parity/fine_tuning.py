"""Ten steps of fine-tuning by PyTorch and by resnet50_train, from the same weights of 1000 classes.

  fine_tuning.py RESNET50_TRAIN FOLDER --size N --lr X [--head-lr X] [--dtype f64]

torchvision makes a ResNet-50 with random weights, and torch.save() writes its state dict. resnet50_train takes it with
--pretrained and --freeze; the PyTorch script does what its users do by hand: loads the file, puts a new last layer in,
sets requires_grad of the stem and the first stage to False, calls eval() on their batch norms after train(), and gives
the rest to SGD, the last layer as a group of its own. The new last layer's first values are Taper's: a step with a
learning rate of 1e-38 leaves them as they are in its checkpoint.
"""
import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys

from parity import BATCH, CLASSES, agree, batches, train_with_taper, write_images

import numpy as np
import torch
import torchvision

# (steps, largest relative difference of their losses): rounding errors do not grow below frozen batch norms. Another
# learning rate of the body shows by 1e-3 in the second step.
BOUNDS = {"f32": [(10, 1e-5)], "f64": [(10, 1e-10)]}
FROZEN = ("conv1", "bn1", "layer1")
TYPES = {"F32": np.float32, "F64": np.float64}


def write_weights(path):
    """Writes weights as for 1000 classes. Residual branches begin at zero, as in parity.py, but the running statistics
    are not those of a fresh network: frozen batch norms normalise by them."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(zero_init_residual=True)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.save(model.state_dict(), path)


def read_head(path):
    """Returns the last layer in a safetensors file."""
    content = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    head = {}
    for name in ("weight", "bias"):
        entry = header[f"fc.{name}"]
        values = np.frombuffer(data[slice(*entry["data_offsets"])], TYPES[entry["dtype"]])
        head[name] = torch.from_numpy(values.reshape(entry["shape"]).copy())
    return head


def fine_tune_with_pytorch(images, weights, head, size, lr, head_lr, dtype):
    torch.set_num_threads(2)
    model = torchvision.models.resnet50()
    model.load_state_dict(torch.load(weights))
    model.fc = torch.nn.Linear(model.fc.in_features, CLASSES)
    model.to(dtype)
    model.fc.load_state_dict(head)
    model.train()
    for name in FROZEN:
        part = getattr(model, name)
        part.requires_grad_(False)
        for module in part.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
    body = [parameter for name, parameter in model.named_parameters()
            if parameter.requires_grad and not name.startswith("fc.")]
    optimizer = torch.optim.SGD([{"params": body, "lr": lr}, {"params": model.fc.parameters(), "lr": head_lr}], lr=lr,
                                momentum=0.9, weight_decay=1e-4)
    losses = []
    for inputs, labels in batches(images, size):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs.to(dtype)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--head-lr", type=float, help="of the last layer [--lr]")
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    args = parser.parse_args()
    folder = pathlib.Path(args.folder)
    images, weights, first = str(folder / "images"), str(folder / "weights.pth"), folder / "first"
    write_images(images, args.size)
    write_weights(weights)

    flags = ["--pretrained", weights, "--freeze", ",".join(FROZEN), "--freeze-batch-norm", "frozen", "--dtype", args.dtype,
             "--device", "cpu"]
    shutil.rmtree(first, ignore_errors=True)
    subprocess.run([args.program, *flags, "--dataset", "imagefolder", "--data", images, "--image-size", str(args.size),
                    "--batch-size", str(BATCH), "--optimizer", "sgd", "--lr", "1e-38", "--max-steps", "1",
                    "--checkpoint-dir", first], check=True, stdout=subprocess.DEVNULL)
    head = read_head(first / "last/model.safetensors")

    if args.head_lr:
        flags += ["--head-lr", str(args.head_lr)]
    actual = train_with_taper(args.program, images, args.size, args.lr, str(folder / "log.jsonl"), *flags)
    dtype = torch.float64 if args.dtype == "f64" else torch.float32
    expected = fine_tune_with_pytorch(images, weights, head, args.size, args.lr, args.head_lr or args.lr, dtype)
    sys.exit(not agree(actual, expected, BOUNDS[args.dtype]))


if __name__ == "__main__":
    main()
