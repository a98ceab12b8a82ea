"""A safetensors file written by hand from the format's description, with every dtype of Taper's."""

import json
import pathlib
import struct

import numpy as np


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Returns the upper halves of f32 values that bf16 holds exactly."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def save(path: pathlib.Path, tensors: dict, metadata: dict) -> None:
    """tensors: name -> (dtype in the file, shape, array). Widest elements first, then by name."""
    order = sorted(tensors.items(), key=lambda item: (-item[1][2].itemsize, item[0]))
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, shape, array) in order:
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def generate(folder: pathlib.Path) -> None:
    steps = np.arange(6)
    tensors = {
        "f32": ("F32", [2, 3], (steps * 0.5 - 1).astype(np.float32)),
        "f64": ("F64", [3, 2], steps / 3.0),
        "f16": ("F16", [6], (steps * 0.25).astype(np.float16)),
        "bf16": ("BF16", [1, 6], bfloat16_bits(steps * 0.25)),
        "i64": ("I64", [6, 1], steps.astype(np.int64) - (1 << 40)),
        "i32": ("I32", [2, 1, 3], steps.astype(np.int32) * -7),
        "u8": ("U8", [6], (steps * 50).astype(np.uint8)),
        "bool": ("BOOL", [6], steps % 2 == 0),
        "scalar": ("F32", [], np.float32(2.5)),
        "empty": ("F32", [0, 4], np.zeros(0, np.float32)),
        "größe \"und\" 大小": ("U8", [1], np.array([9], np.uint8)),
    }
    save(folder / "all_dtypes.safetensors", tensors, {"format": "pt", "note": "two\nlines"})
