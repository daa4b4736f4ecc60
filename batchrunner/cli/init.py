"""`batchrunner init`: a manifest that runs at once, its frames, and the schema for editors. Overwrites nothing."""

from __future__ import annotations

import io
import shlex
from importlib.resources import files
from pathlib import Path

import click
from PIL import Image, ImageDraw

from batchrunner.cli.words import printable, say
from batchrunner.errors import ExitCode, StorageError, UsageError
from batchrunner.manifest.export import FILE_NAME, FOLDER, schema_text

MANIFEST = "manifests/first.yaml"
SCHEMA = f"manifests/{FOLDER}/{FILE_NAME}"
IGNORED = ("/.batchrunner/", "/out/", "/rehearsal/")
"""What runs make: the record of everything bought, clips, and rehearsals of both."""
NEXT = f"batchrunner run {MANIFEST} --emulator --yes"
Color = tuple[int, int, int]


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def command(folder: Path) -> ExitCode:
    """Write a manifest that runs at once, its frames, and the schema for editors to DIR. Overwrites nothing."""
    if folder.is_file():
        raise UsageError(f"{folder} is not a folder", fix="name a folder, or leave it out for this one")
    for name, content in _contents().items():
        say(f"{'wrote' if _written(folder / name, content) else 'kept '} {printable(str(folder / name))}")
    _remark(folder)
    start = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    say(f"next: {printable(start)}{NEXT}    (no key, no money)")
    return ExitCode.DONE


def _contents() -> dict[str, bytes]:
    """Each file by its path."""
    return {
        MANIFEST: files("batchrunner.cli").joinpath("starter.yaml").read_bytes(),
        SCHEMA: schema_text().encode(),
        "manifests/frames/hill_first.jpg": _hill((250, 190, 120), (255, 240, 200), height=240),
        "manifests/frames/hill_last.jpg": _hill((20, 30, 80), (230, 235, 255), height=120),
        ".gitignore": "".join(f"{line}\n" for line in IGNORED).encode(),
    }


def _written(path: Path, content: bytes) -> bool:
    """Write a new file, whole or not at all; False when there is one already, which stays as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        if path.is_file():
            return False
        raise StorageError(f"{path} cannot be written: something else is in its place", fix="move it away") from None
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise StorageError(message, fix="free some space, or name another folder") from None
    return True


def _remark(folder: Path) -> None:
    """What files that were kept do not say."""
    try:
        ignored, schema = (folder / ".gitignore").read_bytes(), (folder / SCHEMA).read_bytes()
    except OSError:
        return
    named = {line.strip().strip("/") for line in ignored.decode("utf-8", "replace").splitlines()}
    if missing := [line for line in IGNORED if line.strip("/") not in named]:
        say(f"your .gitignore does not name {' '.join(missing)}: clips would go into the repository")
    if schema != schema_text().encode():
        path = shlex.quote(printable(str(folder / SCHEMA)))
        say(f"the schema there is another version's: batchrunner schema > {path}")


def _hill(sky: Color, light: Color, *, height: int) -> bytes:
    """A hill under the sun or the moon, as a small JPEG."""
    image = Image.new("RGB", (640, 360), sky)
    draw = ImageDraw.Draw(image)
    draw.ellipse((420, height - 45, 510, height + 45), fill=light)
    draw.ellipse((-160, 230, 800, 700), fill=(sky[0] // 3, sky[1] // 2, sky[2] // 3))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()
