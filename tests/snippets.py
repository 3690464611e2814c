#!/usr/bin/env python3
"""Runs the Python and shell snippets of a document about the store, each in a folder of its own that holds a `fused.zarr`.

  snippets.py docs/store.md --bands STORE --components STORE --v2 STORE

Python that speaks of a basis gets the store of components, other Python that of bands; shell commands get the one in Zarr v2.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("document", type=pathlib.Path)
for kind in ("bands", "components", "v2"):
    arguments.add_argument(f"--{kind}", type=pathlib.Path, required=True)
arguments = arguments.parse_args()

snippets = re.findall(r"^```(python|sh)\n(.*?)^```$", arguments.document.read_text(), re.DOTALL | re.MULTILINE)
assert {language for language, _ in snippets} == {"python", "sh"}, "no snippets: has the document moved?"
for language, text in snippets:
    store = arguments.v2 if language == "sh" else arguments.components if "basis" in text else arguments.bands
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(store, pathlib.Path(folder) / "fused.zarr")
        if language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        else:
            # No window to show pictures in.
            command = [sys.executable, "-W", "error::DeprecationWarning", "-c", "import matplotlib; matplotlib.use('agg')\n" + text]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"a snippet of {arguments.document} fails:\n\n{text}\n{done.stdout}{done.stderr}")
print(f"{arguments.document}: {len(snippets)} snippets run")
