"""Is this folder on another machine? Locks and shared memory do not hold over a network, and both keep the database safe."""

from __future__ import annotations

import os
import re
from pathlib import Path

from batchrunner.errors import StorageError

MOUNTS = Path("/proc/self/mountinfo")
NETWORKED = re.compile(
    r"nfs4?|cifs|smb.*|ncpfs|afs|glusterfs|lustre|davfs2?|fuse\.(sshfs|rclone|s3fs|.*gluster.*|davfs2?)"
)
ALLOW = "BATCHRUNNER_ALLOW_NETWORK_DATABASE"
"""The environment variable that lets the user answer for it."""


def refuse_network(folder: Path, *, mounts: Path = MOUNTS) -> None:
    """`StorageError` when the folder is on a network file system; where that cannot be known it is let through."""
    kind = _file_system(folder, mounts)
    if kind is not None and NETWORKED.fullmatch(kind):
        raise StorageError(
            f"{folder} is on a network file system ({kind}), where a database can be damaged; nothing was sent",
            fix=f"choose a local disk with --db PATH, or set {ALLOW}=1 if only one machine ever uses it",
        )


def _file_system(folder: Path, mounts: Path) -> str | None:
    """The kind of the mount that the folder is under: of the longest mount point, the last one mounted there."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, best, kind = os.path.realpath(folder), -1, None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, said = before.split(" "), after.split(" ")
        if len(fields) < 5 or not said[0]:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        if os.path.commonpath((place, point)) == point and len(point) >= best:
            best, kind = len(point), said[0]
    return kind
