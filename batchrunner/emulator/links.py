"""Result links that expire, and the secret that signs them.

The secret lives in the state folder, so that a link handed out before a restart is still good after it. Task ids are made
from it too: an emulator with a fresh state folder never hands out an id that an old one has used.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path


class Links:
    """Makes and checks result links, and makes task ids."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, path: Path) -> Links:
        """With the secret that `path` holds; a new one is made the first time."""
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            secret = secrets.token_bytes(32)
            part = path.with_suffix(".part")
            part.write_bytes(secret)
            part.replace(path)
        return cls(secret)

    def task_id(self, sequence: int) -> str:
        """Opaque, like the relay's own (facts §0 knows five shapes of it)."""
        return f"task_{self._digest(f'task:{sequence}')[:26]}"

    def key_id(self, key: str) -> str:
        """What is kept of an API key: enough to know it again."""
        return self._digest(f"key:{key}")[:16]

    def result_path(self, task_id: str, expires_at: int) -> str:
        """The path and query of a task's clip, good until `expires_at`."""
        return f"/files/{task_id}.mp4?expires={expires_at}&signature={self._signature(task_id, expires_at)}"

    def is_good(self, task_id: str, expires: str, signature: str, *, now: float) -> bool:
        """Whether a link is ours and has not expired."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) <= 12 and signature.isascii()):
            return False
        ours = hmac.compare_digest(self._signature(task_id, int(expires)), signature)
        return ours and now < int(expires)

    def _signature(self, task_id: str, expires_at: int) -> str:
        return self._digest(f"file:{task_id}:{expires_at}")

    def _digest(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
