"""Elementwise operations and their gradients in PyTorch, for elementwise_gradient_test.cpp."""

import pathlib

import torch
import torch.nn.functional as F

from cases import Cases, gradient


def gelu_tanh(x):
    """Computes in f32 for bf16, for which PyTorch 1.13 rounds every step of its gradient."""
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return F.gelu(wide, approximate="tanh").to(x.dtype)


UNARY = {
    "neg": torch.neg, "abs": torch.abs, "square": torch.square, "exp": torch.exp, "log": torch.log,
    "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal,
    "sin": torch.sin, "cos": torch.cos, "erf": torch.erf, "relu": torch.relu, "sigmoid": torch.sigmoid,
    "tanh": torch.tanh, "gelu": F.gelu, "gelu_tanh": gelu_tanh, "silu": F.silu,
}  # fmt: skip
POSITIVE = {"log", "log1p", "sqrt", "rsqrt"}
FLAT = {
    "sign": torch.sign, "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "isnan": torch.isnan,
    "isinf": torch.isinf, "isfinite": torch.isfinite, "logical_not": torch.logical_not,
}  # fmt: skip
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
    "minimum": torch.minimum, "where": lambda a, b: torch.where(a > b, a, b),
    "lerp": lambda a, b: torch.lerp(a, b, 0.75),
}  # fmt: skip
COMPARISONS = {
    "eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge,
    "logical_and": torch.logical_and, "logical_or": torch.logical_or,
}  # fmt: skip
SHAPES = [((2, 3, 5, 7), (3, 1, 1)), ((1031,), (1031,)), ((), (4,)), ((7, 1), (1, 13)), ((2, 0, 3), (3,))]
SPECIAL = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 1e-40, 3e38, -3e38, 0.5, 1.5, 2.5]
FLOATS = [torch.float64, torch.float32, torch.bfloat16]


def in_any_dtype(function, *inputs):
    """Returns function(*inputs), through f32 where this PyTorch lacks the f16 kernel on the CPU."""
    try:
        return function(*inputs)
    except RuntimeError:
        y = function(*(x.float() if x.dtype == torch.float16 else x for x in inputs))
        promoted = torch.result_type(*inputs) if len(inputs) == 2 else inputs[0].dtype
        return y.to(promoted) if y.is_floating_point() else y


def generate(folder: pathlib.Path) -> None:
    torch.manual_seed(0)
    cases = Cases()

    def differentiable(op, function, *inputs, options={}):
        inputs = [x.clone().requires_grad_() for x in inputs]
        y = function(*inputs)
        grads = gradient(y, *inputs)
        grads = [grads] if len(inputs) == 1 else grads
        names = [("x", "grad_x"), ("other", "grad_other")]
        tensors = {}
        for (name, grad_name), x, grad in zip(names, inputs, grads):
            tensors |= {name: x, grad_name: grad}
        cases.add(op, options | {"dtype": str(y.dtype), "shape": list(y.shape)}, y=y, **tensors)

    for dtype in FLOATS:
        for shape, other in SHAPES:
            # Includes whole and half numbers, so that ties, zeros and bounds occur.
            a, b = (2 * torch.randn(s, dtype=torch.float64) for s in (shape, other))
            a, b = (torch.where(torch.rand_like(x) < 0.3, (2 * x).round() / 2, x).to(dtype) for x in (a, b))
            for op, function in UNARY.items():
                # Some derivatives are not finite at zero, which the special values cover.
                x = a.abs() + 0.1 if op in POSITIVE else torch.where(a == 0, torch.ones_like(a), a)
                if op in ("relu", "abs"):
                    x = a
                differentiable(op, function, x)
            for op, function in BINARY.items():
                differentiable(op, function, a, torch.where(b == 0, torch.ones_like(b), b) if op == "div" else b)
            differentiable("pow", torch.pow, a.abs() + 0.1, b)
            differentiable("clamp", lambda x: x.clamp(-0.5, 1), a, options={"low": -0.5, "high": 1})
            differentiable("leaky_relu", lambda x: F.leaky_relu(x, 0.2), a, options={"slope": 0.2})
            differentiable("add_scaled", lambda x, y: torch.add(x, y, alpha=0.75), a, b, options={"alpha": 0.75})
            for exponent in (0, 1, 2, 3, -1, 0.5):
                x = a.abs() + 0.1 if exponent == 0.5 else torch.where(a == 0, torch.ones_like(a), a)
                differentiable("pow_number", lambda x: x**exponent, x, options={"exponent": exponent})
            differentiable("number_pow", lambda x: 1.5**x, a, options={"base": 1.5})

    # Powers at zero, where the derivatives' limits are conventions.
    zeros, exponents = torch.zeros(5, dtype=torch.float64), torch.tensor([0.0, 1.0, 2.0, 3.0, 1.5]).double()
    differentiable("pow", torch.pow, zeros, exponents)
    differentiable("number_pow", lambda x: torch.pow(0.0, x), exponents, options={"base": 0})
    for exponent in (0, 1, 2):
        differentiable("pow_number", lambda x: x**exponent, zeros, options={"exponent": exponent})

    for dtype in (torch.float64, torch.float32):
        x = torch.tensor(SPECIAL, dtype=dtype)
        x, other = x.repeat(len(SPECIAL)), x.repeat_interleave(len(SPECIAL))
        options = {"special": str(dtype)}
        for op, function in (UNARY | FLAT).items():
            cases.add(op, options, x=x[: len(SPECIAL)], y=function(x[: len(SPECIAL)]))
        for op, function in (BINARY | COMPARISONS | {"pow": torch.pow}).items():
            if op != "lerp":
                cases.add(op, options, x=x, other=other, y=function(x, other))
        cases.add("clamp", options | {"low": -1, "high": 2}, x=x, y=x.clamp(-1, 2))

    # Type promotion: every pair of dtypes, with and without dimensions.
    dtypes = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8,
              torch.bool]  # fmt: skip
    for a in dtypes:
        x = torch.tensor([0, 1, 3, 100]).to(a)
        options = {"a": str(a)}
        cases.add("add_number", options | {"number": 0.5}, x=x, y=x + 0.5)
        cases.add("mul_integer", options | {"number": 2}, x=x, y=x * 2)
        small = x / 50 if a.is_floating_point else x % 5
        for op in ("exp", "sigmoid", "square"):
            cases.add(op, options, x=small, y=in_any_dtype(UNARY[op], small))
        for b in dtypes:
            for shape in ((4,), ()):
                other = torch.full(shape, 3).to(b)
                for op in ("add", "mul", "div", "maximum", "eq", "lt"):
                    y = in_any_dtype((BINARY | COMPARISONS)[op], x, other)
                    cases.add(op, options | {"b": str(b), "shape": list(shape)}, x=x, other=other, y=y)
    cases.save(folder)
