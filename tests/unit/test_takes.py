"""Other takes of a job: their names, and what is wanted beside the manifest."""

import pytest

from batchrunner.model import Job, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.states import JobState
from batchrunner.takes import more, with_asked


def job(key, output):
    request = VideoRequest(prompt="p")
    return Job(
        id=1,
        key=key,
        fingerprint=fingerprint(request),
        state=JobState.DONE,
        request=request,
        output=output,
        tags=("x",),
    )


@pytest.mark.parametrize(
    ("key", "output", "keys", "names", "files"),
    [
        ("a", "a.mp4", {"a"}, ["a/t2", "a/t3"], ["a-t2.mp4", "a-t3.mp4"]),
        ("a", "a.mp4", {"a", "a/t2"}, ["a/t3", "a/t4"], ["a-t3.mp4", "a-t4.mp4"]),
        ("s/a/t1", "s/a/t1.mp4", {"s/a/t1", "s/a/t2"}, ["s/a/t3", "s/a/t4"], ["s/a/t3.mp4", "s/a/t4.mp4"]),
        ("a/t2", "x/a_t2.mp4", {"a/t1", "a/t2"}, ["a/t3", "a/t4"], ["x/a_t3.mp4", "x/a_t4.mp4"]),
    ],
)
def test_takes_go_on_where_the_names_are(key, output, keys, names, files):
    made = more(job(key, output), 2, prompt=None, keys=keys, position=7)
    assert [take.key for take in made] == names
    assert [take.output for take in made] == files
    assert {(take.fingerprint, take.position, take.tags) for take in made} == {
        (job(key, output).fingerprint, 7, ("x",))
    }


def test_another_prompt_is_another_request():
    (take,) = more(job("a", "a.mp4"), 1, prompt="q", keys={"a"}, position=0)
    assert take.request.prompt == "q"
    assert take.fingerprint == fingerprint(take.request) != job("a", "a.mp4").fingerprint


def test_the_manifest_names_a_take_before_a_person_does():
    def wanted(key, prompt):
        request = VideoRequest(prompt=prompt)
        return WantedJob(key=key, fingerprint=fingerprint(request), request=request, output=f"{key}.mp4", position=0)

    manifest, asked = [wanted("a", "m"), wanted("a/t2", "m")], [wanted("a/t2", "person"), wanted("a/t3", "person")]
    assert [(one.key, one.request.prompt) for one in with_asked(manifest, asked)] == [
        ("a", "m"),
        ("a/t2", "m"),
        ("a/t3", "person"),
    ]
