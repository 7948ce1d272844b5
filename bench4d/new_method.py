"""A new method's folder from the templates in bench4d/scaffold: it satisfies the contract from the first minute."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from .errors import FormatError
from .method import ROOT

SCAFFOLD = Path(__file__).with_name("scaffold")
OUTPUTS = {
    "mesh": ("{cells: 48, thickness: 1.5}", "It raises each frame's silhouette to a relief, front and back."),
    "gaussians": ("{cells: 48, thickness: 1.5}", "It fills each frame's silhouette with Gaussians, front and back."),
    "views": ("{}", "It shows the input frame from every camera."),
}
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
RESERVED = {"clips", "truth", "logs", "ss4d"}  # folders of results/<benchmark>, and the one method outside baselines/


def new_method(name: str, output: str, parent: Path = ROOT / "baselines") -> Path:
    """Write `<parent>/<name>` with method.yaml, environment.yaml, run.py and README.md. All of it, or nothing.

    Raises FormatError for a bad name, an unknown output or a folder that is there.
    """
    if not NAME.fullmatch(name) or name in RESERVED:
        expected = f"a small letter, then up to 39 of a-z, 0-9, '_' and '-', and none of {sorted(RESERVED)}"
        raise FormatError("name", expected, repr(name), "It becomes the folder's name and the row's in tables.")
    if output not in OUTPUTS:
        raise FormatError("output", f"one of {list(OUTPUTS)}", repr(output))
    folder = parent / name
    if folder.exists():
        raise FormatError(folder, "no such folder yet", "one", "Choose another name, or remove it first.")
    if not parent.is_dir():
        raise FormatError(parent, "a folder to put the method into", "none", "Make it, or leave --dir out.")
    parameters, what = OUTPUTS[output]
    values = {"id": name, "output": output, "parameters": parameters, "what": what}
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{name}.") as temporary:
        made = Path(temporary) / name
        made.mkdir()
        for file in ("method.yaml", "environment.yaml", "README.md"):
            text = Template((SCAFFOLD / file).read_text("utf-8")).substitute(values)
            (made / file).write_text(text, "utf-8")
        shutil.copyfile(SCAFFOLD / f"run_{output}.py", made / "run.py")
        made.rename(folder)
    return folder
