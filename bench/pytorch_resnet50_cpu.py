"""Median images per second of ResNet-50 in PyTorch on the CPU, training or inference, printed as one number.

  pytorch_resnet50_cpu.py --size 32 --batch 64 --steps 10 --layout contiguous|channels_last --threads 2 [--inference]
                          [--precision f32|bf16]
"""
import argparse
import statistics
import time

import torch
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=32)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--layout", choices=["contiguous", "channels_last"], default="contiguous")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--inference", action="store_true")
parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(0)
layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
model = torchvision.models.resnet50(num_classes=10, zero_init_residual=True).to(memory_format=layout)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
images = torch.randn(args.batch, 3, args.size, args.size).to(memory_format=layout)
labels = torch.randint(0, 10, (args.batch,))


def forward():
    with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
        return model(images)


def train():
    optimizer.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(forward().float(), labels)
    loss.backward()
    optimizer.step()
    loss.item()


def infer():
    with torch.inference_mode():
        forward()


if args.inference:
    model.eval()
step = infer if args.inference else train
speeds = []
for _ in range(args.steps):
    start = time.perf_counter()
    step()
    speeds.append(args.batch / (time.perf_counter() - start))
print(statistics.median(speeds[3:] or speeds))
