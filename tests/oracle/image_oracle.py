"""Images of every kind, with PIL's and torchvision's results, for image_test.cpp.

cases.txt has one case a line: the operation, the source file, its arguments, and the file (PPM) with the result.
"""

import io
import itertools
import math
import pathlib
import random
import struct
import zlib

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Normalize, Resize, ToTensor

SIZES = [(1, 1), (1, 7), (9, 1), (8, 8), (13, 17), (31, 64), (100, 75)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG colour type -> samples a pixel


def test_image(width, height, channels, seed=0):
    """Returns waves with noise, so smooth areas and sharp edges, [height, width, channels] u8."""
    rng = np.random.default_rng([seed, width, height, channels])
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    waves = 128 + 90 * np.sin(x / (3.0 + c) + seed) * np.cos(y / (5.0 + c)) + 60 * ((x // 7 + y // 5 + c) % 2)
    return np.clip(waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def to_pil(pixels):
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, color_type, depth, interlaced=False, extra=b""):
    """Returns a PNG file with samples [height, width, channels], written by hand because PIL cannot write all kinds."""
    height, width, _ = samples.shape
    data = b""
    for left, top, step_x, step_y in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::step_y, left::step_x].astype(np.int64)
        if part.size == 0:
            continue
        bits = (part.reshape(part.shape[0], -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
        for row in bits.reshape(part.shape[0], -1).astype(np.uint8):
            data += b"\0" + np.packbits(row).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(data))
            + chunk(b"IEND", b""))


def png_files():
    rng = np.random.default_rng(1)
    depths = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}
    for color_type, channels in CHANNELS.items():
        for depth in depths[color_type]:
            for width, height in SIZES:
                for interlaced in (False, True):
                    samples = rng.integers(0, 2**depth, (height, width, channels))
                    extra = b""
                    if color_type == 3:
                        extra = chunk(b"PLTE", rng.integers(0, 256, 3 * 2**depth, dtype=np.uint8).tobytes())
                        extra += chunk(b"tRNS", bytes(range(2**depth)))
                    yield (f"type{color_type}_{depth}bit_{width}x{height}_{int(interlaced)}.png",
                           png(samples, color_type, depth, interlaced, extra))
    small = rng.integers(0, 400, (6, 5, 1))
    yield "gray16_small_values.png", png(small, 0, 16)
    yield "gray_transparent.png", png(small % 256, 0, 8, extra=chunk(b"tRNS", b"\0\7"))
    yield "gamma.png", png(small % 256, 0, 8, extra=chunk(b"gAMA", struct.pack(">I", 100000)))


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def jpeg_files():
    for width, height in SIZES + [(500, 375)]:
        for channels, name in [(1, "gray"), (3, "rgb"), (4, "cmyk")]:
            image = to_pil(test_image(width, height, channels))
            if channels == 4:
                image = Image.fromarray(np.asarray(image), "CMYK")
            for progressive in (False, True):
                for subsampling in (0, 1, 2) if channels == 3 else (0,):
                    yield (f"{name}_{width}x{height}_{subsampling}_{int(progressive)}.jpg",
                           jpeg(image, quality=60 + 15 * subsampling, subsampling=subsampling,
                                progressive=progressive))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    image = to_pil(test_image(40, 24, 3))
    yield "orientation.jpg", jpeg(image, exif=exif)
    plain = jpeg(image)
    jfif_length = 2 + struct.unpack(">H", plain[4:6])[0]
    adobe_rgb = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    yield "adobe_rgb.jpg", plain[:2] + adobe_rgb + plain[2 + jfif_length:]
    cmyk = jpeg(Image.fromarray(test_image(40, 24, 4), "CMYK"))
    at = cmyk.index(b"Adobe") + 11
    yield "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:]


def horizontal_pass_first(resize):
    """PIL's resize as it was up to version 12.1. Later ones filter tall images vertically first and round otherwise:
    12.2 the tallest, 13 many. Taper keeps to the older rule; see nn/data/resize.h."""
    def one_axis_at_a_time(image, size, resample=None, **options):
        return resize(resize(image, (size[0], image.height), resample, **options), size, resample, **options)
    return one_axis_at_a_time


Image.Image.resize = horizontal_pass_first(Image.Image.resize)


def opens(data):
    try:
        Image.open(io.BytesIO(data)).convert("RGB")
        return True
    except Exception:
        return False


def generate(folder: pathlib.Path):
    cases = []
    numbers = itertools.count()

    def save(image):
        name = f"out{next(numbers)}.ppm"
        image.save(folder / name)
        return name

    # Decoding, also of PNG files that lack what follows their pixels; and files that PIL refuses because they are cut
    # short. Exceptions: PIL reads some shorter PNG files, Taper some JPEG files without end marker.
    for name, data in [*png_files(), *jpeg_files()]:
        is_png = name.endswith(".png")
        for file, content in {name: data, **{f"lacks{n}_{name}": data[:-n] for n in (1, 12, 16) if is_png}}.items():
            (folder / file).write_bytes(content)
            cases.append(f"decode {file} {save(Image.open(io.BytesIO(content)).convert('RGB'))}")
        for i, length in enumerate(random.Random(name).sample(range(len(data) - (20 if is_png else 2)), 3)):
            if not opens(data[:length]):
                (folder / f"cut{i}_{name}").write_bytes(data[:length])
                cases.append(f"refuse cut{i}_{name}")

    # Geometry: resize, crop, flip.
    rng = random.Random(5)
    for width, height in SIZES + [(500, 375), (333, 500), (640, 480), (3, 700), (256, 300), (32, 32)]:
        image = to_pil(test_image(width, height, 3, seed=1))
        source = save(image)
        cases.append(f"flip {source} {save(F.hflip(image))}")
        for out_width, out_height in [(1, 1), (width, 5), (5, height), (32, 32), (97, 61), (width + 9, 2 * height)]:
            scaled = F.resize(image, [out_height, out_width], InterpolationMode.BILINEAR)
            cases.append(f"resize {source} {out_width} {out_height} {save(scaled)}")
        for size in [1, 8, 32, 37, 73, 224, 256]:
            if size * max(width, height) / min(width, height) < 3000:
                cases.append(f"shorter {source} {size} {save(Resize(size)(image))}")
            cases.append(f"center {source} {size} {save(CenterCrop(size)(image))}")
        for _ in range(10):
            w, h = rng.randint(1, width), rng.randint(1, height)
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            size = rng.choice([7, 32, 64, w])
            scaled = F.resized_crop(image, top, left, h, w, [size, size])
            cases.append(f"box {source} {left} {top} {w} {h} {size} {save(scaled)}")
        for resize, size in [(37, 32), (64, 64), (256, 224)]:
            if math.ceil(resize * max(width, height) / min(width, height)) < 3000:
                out = CenterCrop(size)(Resize(resize)(image))
                cases.append(f"evaluate {source} {resize} {size} {save(out)}")

    # The 256 values of a channel, normalised: [3, 256] f32.
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    values = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(ToTensor()(ramp))
    (folder / "normalized.f32").write_bytes(values.numpy().astype("<f4").tobytes())
    assert values.dtype == torch.float32

    (folder / "cases.txt").write_text("\n".join(cases) + "\n")
