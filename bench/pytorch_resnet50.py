#!/usr/bin/env python3
"""Training steps of ResNet-50 in PyTorch on images that stay on the device, as resnet50_step measures Taper's.

  pytorch_resnet50.py --device cuda --batch 256 --size 224 --precision f32|tf32|bf16|fp16 --layout nchw|channels_last
                      [--mode eager|compile|graph] [--serve]
  pytorch_resnet50.py --ceilings      what the device can do: matrix products of 8192 and a copy of 1 GiB

Prints JSON, a line for a block of steps and one for the summary; bench/resnet50_step.cpp says what it holds. bf16 is
autocast with f32 weights, fp16 the same with a gradient scaler. compile: torch.compile in mode max-autotune, which uses
CUDA graphs itself; graph: the whole step captured once and replayed. Exit code 77 without PyTorch or without the device.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    from torch import nn
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)


# In torch.amp since 2.3; the old place warns.
GradScaler = torch.amp.GradScaler if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Bottleneck(nn.Module):
    """As torchvision's, which GPU machines often lack."""

    def __init__(self, in_channels, width, stride):
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                                            nn.BatchNorm2d(out_channels))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet50(classes):
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            width = 64 << stage
            layers.append(Bottleneck(channels, width, 2 if block == 0 and stage > 0 else 1))
            channels = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class StepRace:
    def __init__(self, options):
        self.options = options
        self.on_gpu = options.device.startswith("cuda")
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
        layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
        self.model = resnet50(options.classes).to(options.device, memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.images = torch.randn(options.batch, 3, options.size, options.size, device=options.device)
        self.images = self.images.contiguous(memory_format=layout)
        self.labels = torch.arange(options.batch, device=options.device) % options.classes
        self.scaler = GradScaler(enabled=options.precision == "fp16")
        self.forward = torch.compile(self.model, mode="max-autotune") if options.mode == "compile" else self.model
        self.step = self.capture() if options.mode == "graph" else self.eager_step
        for _ in range(options.warmup):
            self.step()
        self.wait()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def eager_step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.forward_backward()
        self.scaler.step(self.optimizer)  # without a scale, optimizer.step()
        self.scaler.update()

    def forward_backward(self):
        precision = self.options.precision
        with torch.autocast(self.options.device.split(":")[0], HALF.get(precision, torch.bfloat16),
                            enabled=precision in HALF):
            loss = nn.functional.cross_entropy(self.forward(self.images), self.labels)
        self.scaler.scale(loss).backward()
        self.loss = loss.detach()

    def capture(self):
        """The whole step as one CUDA graph, after steps on a side stream, as PyTorch's documentation has it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(self.options.warmup):
                self.eager_step()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.forward_backward()
            self.optimizer.step()
        return graph.replay

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def block(self):
        steps = self.options.steps
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        host_seconds = time.perf_counter() - start
        self.wait()
        return {"images_per_second": self.options.batch * steps / (time.perf_counter() - start),
                "host_seconds_per_step": host_seconds / steps}

    def summary(self):
        result = {"loss": float(self.loss)}
        if self.on_gpu:
            result["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
            result["reserved_memory_bytes"] = torch.cuda.max_memory_reserved()
        result["seconds_per_op"] = self.seconds_per_op()
        if self.options.kernels:
            result["kernels"] = self.kernels_of_a_step()
        return result

    def seconds_per_op(self):
        calls, times = 500, []
        with torch.no_grad():
            a = torch.ones(8, device=self.options.device)
            for _ in range(5):
                self.wait()
                start = time.perf_counter()
                for _ in range(calls):
                    a + a  # pylint: disable=pointless-statement
                times.append((time.perf_counter() - start) / calls)
        self.wait()
        return min(times)

    def kernels_of_a_step(self):
        activities = [torch.profiler.ProfilerActivity.CUDA] if self.on_gpu else [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            self.step()
            self.wait()
        rows = []
        for event in profile.key_averages():
            us = getattr(event, "self_device_time_total", 0) if self.on_gpu else event.self_cpu_time_total
            if us > 0:
                rows.append({"kernel": event.key, "op": "", "calls": event.count, "seconds": us * 1e-6})
        return sorted(rows, key=lambda row: -row["seconds"])


def median_seconds(run, repeats=10):
    run()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def ceilings(device):
    """Measured floating-point operations per second by precision, and bytes per second of a copy."""
    size = 8192
    result = {"versions": {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
                           "cuda": torch.version.cuda}, "flops": {}}
    for precision, dtype in (("f32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16),
                             ("fp16", torch.float16)):
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        result["flops"][precision] = 2 * size**3 / median_seconds(lambda a=a, b=b: a @ b)
    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    result["bytes_per_second"] = 2 * source.numel() / median_seconds(lambda: target.copy_(source))
    return result


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16", "fp16"], default="f32")
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    parser.add_argument("--mode", choices=["eager", "compile", "graph"], default="eager")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--ceilings", action="store_true")
    return parser.parse_args()


def say(message):
    print(json.dumps(message), flush=True)


def main():
    options = read_options()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("skipped: PyTorch sees no GPU", file=sys.stderr)
        sys.exit(77)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.ceilings:
        say(ceilings(options.device))
        return
    if options.precision == "fp16" and (options.mode == "graph" or not options.device.startswith("cuda")):
        sys.exit("--precision fp16 needs a GPU, and no --mode graph: its gradient scaler asks the device after each step")
    race = StepRace(options)
    if options.serve:
        say({"ready": True})
        for _ in sys.stdin:
            say(race.block())
    else:
        for _ in range(options.blocks):
            say(race.block())
    say(race.summary())


if __name__ == "__main__":
    main()
