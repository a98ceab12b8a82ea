#!/usr/bin/env python3
"""PyTorch's time for the convolutions that resnet50_layers has measured, with cudnn.benchmark on.

  pytorch_layers.py LAYERS.json --out FILE.json [--device cuda] [--layout channels_last|nchw]

LAYERS.json is what resnet50_layers wrote. FILE.json: {layer's name: {"forward" | "backward_input" |
"backward_weight": milliseconds}}, medians. Exit code 77 without PyTorch or without the device.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

try:
    import torch
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

DTYPES = {"f32": torch.float32, "tf32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def milliseconds(run, device):
    for _ in range(3):
        run()
    times = []
    for _ in range(11):
        if device.startswith("cuda"):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            begin = time.perf_counter()
            run()
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def measure(layer, batch, dtype, device, layout):
    def image(*shape):
        return torch.randn(*shape, device=device, dtype=dtype).contiguous(memory_format=layout)

    x = image(batch, layer["in"], layer["input_size"], layer["input_size"])
    weight = image(layer["out"], layer["in"], layer["kernel"], layer["kernel"])
    stride, padding = [layer["stride"]] * 2, [layer["padding"]] * 2
    grad = torch.nn.functional.conv2d(x, weight, None, stride, padding)

    def backward(mask):
        return lambda: torch.ops.aten.convolution_backward(grad, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1,
                                                           mask)

    return {"forward": milliseconds(lambda: torch.nn.functional.conv2d(x, weight, None, stride, padding), device),
            "backward_input": milliseconds(backward([True, False, False]), device),
            "backward_weight": milliseconds(backward([False, True, False]), device)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layout", choices=["nchw", "channels_last"], default="channels_last")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("skipped: PyTorch sees no GPU", file=sys.stderr)
        sys.exit(77)
    torch.backends.cudnn.benchmark = True
    measured = json.loads(options.layers.read_text(encoding="utf-8"))
    torch.backends.cudnn.allow_tf32 = measured["dtype"] == "tf32"
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    with torch.no_grad():
        times = {layer["name"]: measure(layer, measured["batch"], DTYPES[measured["dtype"]], options.device, layout)
                 for layer in measured["layers"]}
    options.out.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
