"""Cases for C++ tests: an operation, its options, and PyTorch's input and output tensors for each.

    cases = Cases()
    x = torch.randn(3, 4, requires_grad=True)
    y = torch.softmax(x, 1)
    cases.add("softmax", {"axis": 1}, x=x, y=y, grad_x=gradient(y, x))
    cases.save(folder)

tests/support/oracle_cases.h reads them back.
"""

import json
import pathlib
import struct

import numpy as np
import torch

DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def raw_bytes(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:  # NumPy has no bf16: takes the upper halves of f32 values
        return (tensor.float().numpy().view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return tensor.numpy().tobytes()


def save_safetensors(path: pathlib.Path, tensors: dict, metadata: dict = {}) -> None:
    """tensors: name -> torch.Tensor; metadata: name -> str."""
    header, chunks, size = {"__metadata__": metadata}, [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        raw = raw_bytes(tensor)
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [size, size + len(raw)],
        }
        chunks.append(raw)
        size += len(raw)
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def gradient(y: torch.Tensor, *inputs: torch.Tensor, grad: torch.Tensor = None):
    """Returns gradients of sum(y * grad) with respect to the inputs; grad: by default weights_like(y)."""
    grads = torch.autograd.grad(y, inputs, weights_like(y) if grad is None else grad)
    return grads[0] if len(inputs) == 1 else grads


def weights_like(y: torch.Tensor) -> torch.Tensor:
    """Returns a gradient for y without equal neighbours: cos(0), cos(1), ... in row-major order."""
    return torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y.dtype)


class Cases:
    def __init__(self):
        self.tensors, self.options = {}, {}

    def add(self, op: str, options: dict, **tensors: torch.Tensor) -> None:
        """Tensors that are None are left out."""
        case = f"{len(self.options):03} {op} {json.dumps(options)}"
        self.options[case] = json.dumps({"op": op, "options": options})
        for name, tensor in tensors.items():
            if tensor is not None:
                self.tensors[f"{case}/{name}"] = tensor

    def save(self, folder: pathlib.Path) -> None:
        save_safetensors(folder / "cases.safetensors", self.tensors, self.options)
