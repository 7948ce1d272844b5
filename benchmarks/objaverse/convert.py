"""Turn a file of another format into the GLB that this benchmark reads, with Blender.

    blender --background --python-exit-code 1 --python benchmarks/objaverse/convert.py -- IN OUT.glb
    python benchmarks/objaverse/convert.py IN OUT.glb      where the package bpy 5 is installed

IN is .fbx, .usd, .abc, .blend, .gltf or .obj. Objaverse 1.0 holds GLB alone; Objaverse-XL and collections of one's own
hold these too. What becomes of them is Blender's doing: note its version. No environment of this repository has it.
"""

import sys
from pathlib import Path

import bpy  # type: ignore[import-not-found]

READERS = {
    ".fbx": "import_scene.fbx",
    ".gltf": "import_scene.gltf",
    ".glb": "import_scene.gltf",
    ".usd": "wm.usd_import",
    ".usdz": "wm.usd_import",
    ".abc": "wm.alembic_import",
    ".obj": "wm.obj_import",
}


def convert(source: Path, target: Path) -> None:
    """Write `target`. Exits with a message if Blender cannot read `source`."""
    kind = source.suffix.lower()
    if kind == ".blend":
        bpy.ops.wm.open_mainfile(filepath=str(source), load_ui=False, use_scripts=False)  # never a stranger's scripts
    elif kind in READERS:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        group, name = READERS[kind].split(".")
        try:
            getattr(getattr(bpy.ops, group), name)(filepath=str(source))
        except (AttributeError, RuntimeError) as error:
            sys.exit(f"error: {source}: expected a file that Blender {bpy.app.version_string} reads; found: {error}")
    else:
        sys.exit(f"error: {source}: expected one of .blend {' '.join(READERS)}; found {kind or 'no suffix'}")
    bpy.ops.export_scene.gltf(filepath=str(target), export_format="GLB", export_animations=True, export_lights=False)


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if len(arguments) != 2 or not arguments[1].endswith(".glb"):
        sys.exit("usage: convert.py IN OUT.glb")
    convert(Path(arguments[0]), Path(arguments[1]))
