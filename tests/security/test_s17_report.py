"""S17: the report is other people's words on a page that runs nothing and loads nothing from elsewhere."""

import html
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from batchrunner.model import VideoRequest, WantedJob
from batchrunner.report import page
from batchrunner.request import fingerprint
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUN = "document.title='owned'"
PAYLOADS = [
    f"<script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</title><script>{RUN}</script>",
    f"--><script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg><animate onbegin={RUN} attributeName=x>",
    f'"><body onload={RUN}>',
    f"' autofocus onfocus={RUN} x='",
    f'<a href="javascript:{RUN}">x</a>',
    "<iframe src=https://evil.example/>",
    "<link rel=stylesheet href=https://evil.example/a.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href=https://evil.example/>",
    "<object data=https://evil.example/a.swf>",
    "<form action=https://evil.example/><button>x",
    "<style>@import url(https://evil.example/a.css)</style>",
    "<video src=https://evil.example/a.mp4 autoplay>",
    "{{ 7 * 7 }} {% for x in ().__class__.__mro__ %}{% endfor %}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--",
    "<![CDATA[<script>alert(1)</script>]]>",
    "\u202e<script>\u2028alert(1)</script>",
    f"<scr\0ipt>{RUN}</script>",
]
TAGS = {"html", "head", "meta", "title", "style", "body", "main", "article", "video", "img", "a", "details", "summary"}
TAGS |= {
    "h1",
    "h2",
    "h3",
    "p",
    "b",
    "i",
    "em",
    "strong",
    "span",
    "div",
    "section",
    "header",
    "footer",
    "nav",
    "ul",
    "li",
}
TAGS |= {
    "table",
    "thead",
    "tbody",
    "tr",
    "td",
    "th",
    "code",
    "pre",
    "dl",
    "dt",
    "dd",
    "br",
    "figure",
    "figcaption",
    "time",
}


def report(folder):
    """A page with every payload as batch, key, prompt and message."""
    store = MemoryStore()
    batch = store.open_batch(PAYLOADS[2], endpoint="e", currency=PAYLOADS[0], now=NOW)
    jobs = []
    for position, payload in enumerate(PAYLOADS):
        asked = VideoRequest(prompt=payload)
        jobs.append(
            WantedJob(key=payload, fingerprint=fingerprint(asked), request=asked, output="a.mp4", position=position)
        )
    store.apply(batch.id, Changes(added=tuple(jobs)), now=NOW)
    for job in list(store.jobs(batch.id)):
        store.record_rejected(job.id, reason=PAYLOADS[0], message=PAYLOADS[4], now=NOW)
    return page.render(
        batch,
        store.jobs(batch.id),
        counts=store.counts(batch.id),
        money=store.money(batch.id),
        folder=folder,
        at=NOW,
    )


class Elements(HTMLParser):
    """Every tag with its attributes, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def test_other_people_s_words_stay_words(tmp_path):
    text = report(tmp_path)
    elements = Elements(text)
    assert {tag for tag, _ in elements.found} <= TAGS
    names = {name for _, attributes in elements.found for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "srcdoc", "formaction")}
    addresses = [attributes[name] for _, attributes in elements.found for name in ("src", "href") if name in attributes]
    assert not [one for one in addresses if ":" in one]
    assert sum(tag == "meta" and "refresh" in str(attributes) for tag, attributes in elements.found) == 0
    shown = "".join(elements.words)
    assert all(payload.replace("\0", "") in shown.replace("\0", "") for payload in PAYLOADS if "&lt;" not in payload)
    assert html.escape(PAYLOADS[19]) in text


def test_the_policy_lets_nothing_in(tmp_path):
    (policy,) = [
        attributes["content"]
        for tag, attributes in Elements(report(tmp_path)).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed")
def test_a_browser_loads_and_runs_nothing(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report(tmp_path), encoding="utf-8")
    log = tmp_path / "net.json"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run", f"--log-net-log={log}"]
    done = subprocess.run(
        [*command, *quiet, "--virtual-time-budget=2000", "--dump-dom", f"file://{quote(str(path))}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<article" in done.stdout
    assert "<title>owned" not in done.stdout
    assert "evil.example" not in log.read_text(errors="replace")
