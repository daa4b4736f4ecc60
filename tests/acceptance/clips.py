"""Real mp4 files, tiny, each rendered once and kept in a folder; the end of each names the task that it was sold for."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

SIZES = {"16:9": (64, 36), "9:16": (36, 64), "1:1": (48, 48)}
FPS = 4
SOUND_RATE = 8000


def plain(folder: Path, *, duration: int, ratio: str, audio: bool) -> bytes:
    """A clip of this length, shape and sound."""
    path = folder / f"{duration}-{ratio.replace(':', 'x')}-{'sound' if audio else 'mute'}.mp4"
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}.mp4")
        _render(draft, duration=duration, size=SIZES[ratio], audio=audio)
        draft.replace(path)
    return path.read_bytes()


def stamped(clip: bytes, task_id: str, *, pad: int = 0) -> bytes:
    """The clip with a box at its end that players skip: so much padding, then the task's name."""
    payload = b"\0" * pad + task_id.encode()
    return clip + struct.pack(">I4s", 8 + len(payload), b"free") + payload


def _render(path: Path, *, duration: int, size: tuple[int, int], audio: bool) -> None:
    import av

    width, height = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if audio else None
        for number in range(duration * FPS):
            picture = av.VideoFrame(width, height, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([255 * number // (duration * FPS)]) * plane.buffer_size)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            for start in range(0, duration * SOUND_RATE, 1000):
                silence = av.AudioFrame("fltp", "mono", 1000)
                silence.planes[0].update(bytes(silence.planes[0].buffer_size))
                silence.sample_rate, silence.pts, silence.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
                container.mux(sound.encode(silence))
            container.mux(sound.encode(None))
