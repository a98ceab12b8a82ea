"""Makes the files here, each below 4 KB: make.py FOLDER. Run once by PyTorch 1.13 and once by a current one; the files
say which it was. tests/nn/pytorch_file_test.cpp knows what is in them.
"""

import collections
import pathlib
import sys

import torch


def values(dtype, shape):
    """0, 1/2, 1, 3/2, ...; what every dtype but bool holds exactly, cut to integers where it must."""
    count = 1
    for size in shape:
        count *= size
    return (torch.arange(count, dtype=torch.float64) / 2).to(dtype).reshape(shape)


def every_dtype():
    """An ordered dict, as Module.state_dict() returns it, with its _metadata."""
    tensors = collections.OrderedDict()
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8"):
        tensors[name] = values(getattr(torch, name), [2, 3])
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.empty(0, 4)
    tensors._metadata = collections.OrderedDict([("", {"version": 1})])
    return tensors


def views():
    """Tensors that share storage, and strides of every kind."""
    base = values(torch.float32, [24])
    tied = torch.nn.Parameter(values(torch.float32, [2, 2]))
    return {
        "base": base,
        "slice": base[4:10],
        "transposed": base[:6].view(2, 3).t(),
        "steps": base.view(4, 6)[:, 1::2],
        "expanded": base[2:3].expand(5),
        "channels_last": values(torch.float32, [1, 2, 2, 2]).contiguous(memory_format=torch.channels_last),
        "tied.encoder": tied,
        "tied.decoder": tied,
    }


def checkpoint():
    """What a training program saves: a state dict of DataParallel, an optimiser's state, numbers and texts."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
        model.bias.fill_(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "epoch": 7,
        "best": 0.25,
        "arch": "größe",
        "negative": -5,
        "large": 1 << 40,
        "nothing": None,
        "resumed": True,
        "shape": torch.Size([1, 2]),
        "names": ["a", ("b",), []],
        "state_dict": collections.OrderedDict(("module." + name, value) for name, value in model.state_dict().items()),
        "optimizer": optimizer.state_dict(),
    }


def main(folder: pathlib.Path) -> None:
    version = "1.13" if torch.__version__.startswith("1.13") else "2"
    for name, make in (("every_dtype", every_dtype), ("views", views), ("checkpoint", checkpoint)):
        torch.save(make(), folder / f"{name}-{version}.pth")
        torch.save(make(), folder / f"{name}-{version}-old.pth", _use_new_zipfile_serialization=False)
    others = {"x": values(torch.float32, [3]), "int8": values(torch.int8, [3])}
    torch.save(others, folder / f"protocol4-{version}.pth", pickle_protocol=4)
    torch.save({}, folder / f"nothing-{version}.pth")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
