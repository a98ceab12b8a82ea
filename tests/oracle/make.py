"""Runs one oracle script: make.py SCRIPT.py FOLDER.

SCRIPT.py defines generate(folder: pathlib.Path), which writes into the empty folder what PyTorch, torchvision or
PIL computes, for the C++ tests to compare with (tests/support/oracle.h). The work is repeated only after the script or
this file has changed. Exit code 77, which ctest shows as "skipped", if one of the script's imports is missing.
"""

import importlib.util
import pathlib
import shutil
import sys


def main(script: pathlib.Path, folder: pathlib.Path) -> int:
    done = folder / "DONE"
    sources = [script, pathlib.Path(__file__)]
    if done.exists() and all(source.stat().st_mtime < done.stat().st_mtime for source in sources):
        print(f"{folder} is up to date")
        return 0

    shutil.rmtree(folder, ignore_errors=True)
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        print(f"{script.name} skipped, so its C++ tests compare with nothing: {error}")
        print("apt-get install python3-torch python3-torchvision python3-pil")
        return 77

    folder.mkdir(parents=True)
    module.generate(folder)
    done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
