#!/usr/bin/env python3
"""Takes the walk of docs/first_hour.md as its reader would: first_hour.py FOLDER. Needs numpy, rasterio, xarray, zarr, rioxarray, matplotlib.

Descriptions go where the text says "Save this as"; a table shown by itself replaces that table of the one saved last. Commands and Python run in
FOLDER in their order, but for those that install and build.
"""
import os
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
folder = pathlib.Path(sys.argv[1])
(folder / "docs").mkdir(parents=True)
(folder / "docs" / "first_hour.py").write_bytes((root / "docs" / "first_hour.py").read_bytes())

programs = root / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
python = pathlib.Path(sys.executable).parent
environment = os.environ | {"PATH": f"{programs}:{python}:{os.environ['PATH']}", "MPLBACKEND": "Agg"}

page = (root / "docs" / "first_hour.md").read_text()
saved, prose_from, commands = None, 0, 0
for block in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
    language, text = block.groups()
    prose, prose_from = page[prose_from:block.start()], block.end()
    if language == "toml":
        place = re.findall(r"Save\s+this\s+as\s+`([^`]+)`", prose)
        if place:
            saved = folder / place[-1]
            saved.write_text(text)
        else:
            assert saved, f"no place was named before this table:\n{text}"
            header = text.splitlines()[0]
            table = re.compile(rf"^{re.escape(header)}.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
            whole, count = table.subn(lambda _: text + "\n", saved.read_text())
            assert count == 1, f"{saved} has {count} tables {header}"
            saved.write_text(whole)
    elif language == "python":
        subprocess.run([sys.executable, "-c", text], cwd=folder, env=environment, check=True)
        commands += 1
    elif language == "sh" and "pip install" not in text:
        print(f"$ {text}", end="", flush=True)
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, check=True)
        commands += 1
assert commands >= 6 and (folder / "walk" / "look.png").exists(), f"{commands} commands"
