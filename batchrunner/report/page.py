"""The report page: every clip of a batch on one file that opens without a server, a network or a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from batchrunner.durable import MARK
from batchrunner.model import Batch, Job, Money
from batchrunner.report import summary
from batchrunner.states import JobState

STYLE = """
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", sans-serif; margin: 2rem; color: #1c1c22; background: #fafafa; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.2rem; }
article { background: #fff; border: 1px solid #ddd; border-radius: .5rem; padding: .8rem; overflow-wrap: anywhere; }
video { width: 100%; max-height: 20rem; background: #000; border-radius: .3rem; }
h2 { font-size: 1rem; margin: .4rem 0; }
p { margin: .3rem 0; }
.failed, .in_doubt { border-color: #c33; }
.state { color: #666; }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8ee; background: #16161a; } article { background: #202027; border-color: #3a3a44; } .state { color: #aaa; }
}
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; media-src 'self' file:; style-src 'sha256-{_HASH}'"
"""What the page may load: clips beside it and its own style. Prompts and messages are other people's words."""

TEMPLATE = """<!doctype html>
{{ mark }}
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width">
<title>{{ batch.name }}</title>
<style>{{ style }}</style>
</head>
<body>
<h1>{{ batch.name }}</h1>
<p>{{ standing }} · {{ bought }} · {{ at }}</p>
<main>
{% for job in jobs %}
<article class="{{ job.state }}">
{% if job.clip %}<video src="{{ job.href }}" controls preload="metadata" loop></video>{% endif %}
<h2>{{ job.key }}</h2>
<p>{{ job.prompt }}</p>
<p class="state">{{ job.state }}{% if job.why %}: {{ job.why }}{% endif %} · {{ job.shape }}</p>
</article>
{% endfor %}
</main>
</body>
</html>
"""


def render(
    batch: Batch, jobs: Iterable[Job], *, counts: Mapping[JobState, int], money: Money, folder: Path, at: datetime
) -> str:
    """The page as HTML; clips are linked relative to `folder`, where it is to be saved."""
    from jinja2 import Environment  # only a report needs it
    from markupsafe import Markup

    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    return template.render(
        mark=Markup(MARK.decode()),
        policy=POLICY,
        style=Markup(STYLE),
        batch=batch,
        standing=summary.standing(counts),
        bought=summary.bought(money, batch.currency),
        at=f"{at.astimezone():%Y-%m-%d %H:%M %Z}",
        jobs=[_card(job, folder) for job in jobs],
    )


def _card(job: Job, folder: Path) -> dict[str, object]:
    request = job.request
    return {
        "key": job.key,
        "state": job.state.value,
        "why": " ".join(filter(None, (job.reason, job.message))),
        "prompt": request.prompt,
        "clip": job.clip,
        "href": _link(Path(job.clip.path), folder) if job.clip else "",
        "shape": f"{request.duration} s {request.billing_key} {request.aspect_ratio.value}",
    }


def _link(clip: Path, folder: Path) -> str:
    try:
        return quote(clip.relative_to(folder).as_posix())
    except ValueError:
        return clip.as_uri()
