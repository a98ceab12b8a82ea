"""Kernels' names as people write them."""

import re
import shutil
import subprocess


def readable(symbols):
    """Returns {symbol: name}, with names as in the source, template arguments included, without return type, parameters and
    anonymous namespaces; the symbol itself where there is no c++filt."""
    symbols = sorted(set(symbols))
    if not symbols or not shutil.which("c++filt"):
        return {symbol: symbol for symbol in symbols}
    text = subprocess.run(["c++filt"], input="\n".join(symbols), stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(zip(symbols, map(shorten, text.splitlines())))


def shorten(declaration):
    """"void taper::(anonymous namespace)::add<float>(float*, int)" becomes "taper::add<float>"."""
    name = declaration.replace("(anonymous namespace)::", "")
    depth = 0
    for index, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            name = name[:index]
            break
    # A return type stands before templates only: the last space outside <>.
    depth = 0
    for index in range(len(name) - 1, -1, -1):
        depth += {">": 1, "<": -1}.get(name[index], 0)
        if name[index] == " " and depth == 0:
            return name[index + 1:]
    return re.sub(r"^void ", "", name)
