#!/usr/bin/env python3
"""Runs the Python and shell snippets of a document about a store, each in a folder of its own that holds the store it reads.

  snippets.py docs/store.md --bands STORE --components STORE --v2 STORE
  snippets.py docs/seasonal.md --seasonal STORE

Python that speaks of a basis gets the store of components, other Python that of bands; shell commands get the one in Zarr v2. With a
seasonal mean, only Python is run: what the shell does there makes the store.
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
for kind in ("bands", "components", "v2", "seasonal"):
    arguments.add_argument(f"--{kind}", type=pathlib.Path)
arguments = arguments.parse_args()
languages = {"python"} if arguments.seasonal else {"python", "sh"}

snippets = re.findall(r"^```(python|sh)\n(.*?)^```$", arguments.document.read_text(), re.DOTALL | re.MULTILINE)
snippets = [(language, text) for language, text in snippets if language in languages]
assert {language for language, _ in snippets} == languages, "no snippets: has the document moved?"
for language, text in snippets:
    if arguments.seasonal:
        store, name = arguments.seasonal, "seasonal.zarr"
    else:
        store = arguments.v2 if language == "sh" else arguments.components if "basis" in text else arguments.bands
        name = "fused.zarr"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(store, pathlib.Path(folder) / name)
        if language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", text]
        else:
            # No window to show pictures in.
            command = [sys.executable, "-W", "error::DeprecationWarning", "-c", "import matplotlib; matplotlib.use('agg')\n" + text]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"a snippet of {arguments.document} fails:\n\n{text}\n{done.stdout}{done.stderr}")
print(f"{arguments.document}: {len(snippets)} snippets run")
