"""Tiny mp4 files, one for each shape a request may ask for, each stamped with the task that it belongs to."""

import io
from functools import cache

import av

FPS = 2
SIZES = {"16:9": (64, 36), "9:16": (36, 64), "1:1": (48, 48)}
SAMPLE_RATE = 8_000


def clip(duration, aspect_ratio, audio, *, stamp):
    """A clip of that length, shape and sound; `stamp` makes its bytes differ from every other clip's."""
    tag = stamp.encode()
    return render(duration, aspect_ratio, audio) + (8 + len(tag)).to_bytes(4, "big") + b"free" + tag


def stamp_of(content):
    """The task that a clip was stamped with."""
    return content[content.rindex(b"free") + 4 :].decode()


@cache
def render(duration, aspect_ratio, audio):
    """The smallest clip that passes for what was asked."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height = SIZES[aspect_ratio]
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if audio else None
        for number in range(duration * FPS):
            frame = av.VideoFrame(video.width, video.height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([16 + number]) * plane.buffer_size)
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for begin in range(0, duration * SAMPLE_RATE, 1024):
                frame = av.AudioFrame("fltp", "mono", 1024)
                frame.planes[0].update(bytes(frame.planes[0].buffer_size))
                frame.sample_rate, frame.pts = SAMPLE_RATE, begin
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return file.getvalue()
