"""Ten training steps of ResNet-50 by torchvision and by resnet50_train, from the same weights and images.

  parity.py RESNET50_TRAIN FOLDER --size N --lr X [--dtype f64 | --amp bf16] [--device cuda]

Writes images and weights into FOLDER, trains with PyTorch (SGD, momentum 0.9, weight decay 1e-4), runs
resnet50_train with the same settings and compares the losses of its --log step by step. With the residual branches'
last batch norm at zero, rounding errors grow slowly enough for ten steps to be comparable: PyTorch's own two memory
formats differ from each other by about the bounds below.

With --device cuda PyTorch trains on the GPU too, or on the CPU if it sees no GPU. Neither side may round to TF32, which
is 2^13 times as coarse as f32. Both may use Winograd's convolutions, whose rounding errors are up to 15 times those of
direct sums, so the bounds for f32 are wider than on the CPU.

With --amp both sides run under autocast. Rounding to 8 bits grows fast, so the bound is measured: PyTorch trains in both
of its memory formats, and Taper's losses may be as far from PyTorch's as PyTorch's are from each other within the run.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))
try:
    import numpy as np
    import torch
    import torchvision
    from PIL import Image

    from cases import save_safetensors  # tests/oracle/cases.py
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

STEPS, BATCH, CLASSES = 10, 40, 10
# (steps, largest relative difference of their losses)
BOUNDS = {("cpu", "f32"): [(1, 1e-5), (3, 3e-4), (10, 5e-2)], ("cpu", "f64"): [(10, 1e-6)],
          ("cuda", "f32"): [(1, 3e-5), (3, 1e-3), (10, 1e-1)], ("cuda", "f64"): [(10, 1e-6)]}


def write_images(folder, size):
    """Writes smooth random PNG images with a tint for each class. PNG gives both sides equal pixels."""
    rng = np.random.default_rng(1)
    for label in range(CLASSES):
        os.makedirs(f"{folder}/class{label}", exist_ok=True)
        tint = rng.integers(0, 120, 3)
        for i in range(BATCH // CLASSES * STEPS):
            coarse = rng.integers(0, 136, (6, 6, 3)) + tint
            image = Image.fromarray(coarse.astype(np.uint8)).resize((size, size), Image.BILINEAR)
            image.save(f"{folder}/class{label}/{i:04}.png")


def batches(folder, size):
    """The images in order, as resnet50_train reads them without augmentation."""
    t = torchvision.transforms
    transform = t.Compose([t.Resize(size), t.CenterCrop(size), t.ToTensor(),
                           t.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    data = torchvision.datasets.ImageFolder(folder, transform)
    return torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=False)


def train_with_pytorch(folder, weights, size, lr, dtype, device, amp=None, memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    torch.set_num_threads(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = torchvision.models.resnet50(num_classes=CLASSES, zero_init_residual=True)
    save_safetensors(pathlib.Path(weights), model.state_dict())
    model.to(device, dtype, memory_format=memory_format)
    loader = batches(folder, size)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    losses = []
    for images, labels in loader:
        optimizer.zero_grad()
        images = images.to(device, dtype, memory_format=memory_format)
        with torch.autocast(device.split(":")[0], amp or torch.bfloat16, enabled=amp is not None):
            loss = torch.nn.functional.cross_entropy(model(images), labels.to(device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_with_taper(program, images, size, lr, log, *flags):
    """Returns the losses of STEPS steps on the images, in order, with a constant learning rate."""
    subprocess.run([program, "--arch", "resnet50", "--dataset", "imagefolder", "--data", images, "--shuffle", "off",
                    "--augment", "off", "--image-size", str(size), "--resize", str(size), "--batch-size", str(BATCH),
                    "--max-steps", str(STEPS), "--schedule", "constant", "--lr", str(lr), "--tf32", "off", "--log", log,
                    *flags], check=True,
                   # This program has PyTorch's libraries; TAPER_LIBRARY_PATH names Taper's.
                   env={**os.environ, **({"LD_LIBRARY_PATH": os.environ["TAPER_LIBRARY_PATH"]}
                                         if "TAPER_LIBRARY_PATH" in os.environ else {})})
    with open(log) as file:
        return [json.loads(line)["loss"] for line in file]


def agree(actual, expected, bounds):
    """Prints the losses side by side. Returns whether each differs by no more than the first of the `bounds` (steps,
    largest relative difference) that reaches to its step."""
    assert len(actual) == STEPS, f"{len(actual)} steps in the log"
    good = True
    for step, (ours, theirs) in enumerate(zip(actual, expected), 1):
        difference = abs(ours - theirs) / abs(theirs)
        bound = next(bound for steps, bound in bounds if step <= steps)
        good &= difference <= bound
        print(f"step {step:2}  taper {ours:.9f}  pytorch {theirs:.9f}  difference {difference:.1e}  allowed {bound:.0e}")
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    parser.add_argument("--amp", choices=["off", "bf16"], default="off")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    args = parser.parse_args()
    kind = args.device.split(":")[0]
    torch_device = args.device if kind == "cuda" and torch.cuda.is_available() else "cpu"
    print(f"taper on {args.device}, pytorch {torch.__version__} on {torch_device}, TF32 off")
    images, weights, log = f"{args.folder}/images", f"{args.folder}/weights.safetensors", f"{args.folder}/log.jsonl"
    write_images(images, args.size)
    amp = torch.bfloat16 if args.amp == "bf16" else None
    pytorch = [images, weights, args.size, args.lr, torch.float64 if args.dtype == "f64" else torch.float32,
               torch_device, amp]
    expected = train_with_pytorch(*pytorch)
    if amp:
        other = train_with_pytorch(*pytorch, memory_format=torch.channels_last)
    common = ["--dtype", args.dtype, "--amp", args.amp, "--device", args.device, "--init", weights]
    actual = train_with_taper(args.program, images, args.size, args.lr, log, *common)
    if amp:
        bound = max(abs(a - b) / abs(a) for a, b in zip(expected, other))
        bounds = [(STEPS, bound)]
    else:
        bounds = BOUNDS[kind, args.dtype]
    sys.exit(not agree(actual, expected, bounds))


if __name__ == "__main__":
    main()
