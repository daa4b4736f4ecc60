"""Clips that land together: one thread, one sync of their folder, and each its own end."""

import errno
from functools import partial
from pathlib import Path

import anyio
import pytest

from batchrunner.durable import COLLECT_AGAIN
from batchrunner.errors import StorageError
from batchrunner.model import Clip
from batchrunner.outputs import OutputFolder
from batchrunner.runner import landings
from batchrunner.runner.landings import APART, GROUPS, PATIENCE, Landings
from batchrunner.runner.transfer import BadFile, Gone


class Shore:
    """A folder, what happens there in its order, and what became of each clip."""

    def __init__(self, root, monkeypatch):
        self.outputs = OutputFolder(root)
        self.landings = Landings()
        self.log, self.refused, self.ends = [], None, {}
        monkeypatch.setattr(landings, "sync_folder", self._sync)

    def _sync(self, folder):
        self.log.append(("synced", folder.name))
        if folder.name == self.refused:
            raise OSError(errno.EIO, "Input/output error")

    async def land(self, output, accept=None, *, alone=False):
        try:
            clip = await self.landings.land(partial(self._write, output), accept or _accept, alone=alone)
            self.ends[output] = clip
        except (StorageError, BadFile, Gone) as error:
            self.ends[output] = error
        self.log.append(("told", output))

    def _write(self, output):
        part = self.outputs.part(output, owner="task")
        part.write(output.encode())
        return part

    def holds(self, *outputs):
        """Whether each of these landed, with its own bytes."""
        return all(Path(self.ends[output].path).read_bytes() == output.encode() for output in outputs)

    async def together(self, *works):
        async with anyio.create_task_group() as tasks:
            for work in works:
                tasks.start_soon(work)


def _accept(part):
    path = part.publish()
    return Clip(path=str(path), bytes=part.size, sha256=part.sha256, duration=5.0, width=16, height=9, sound=False)


def _refuse(error, part):
    raise error


@pytest.fixture
def shore(tmp_path, monkeypatch):
    return Shore(tmp_path / "out", monkeypatch)


async def test_clips_that_finish_together_share_a_thread_and_a_sync_and_are_told_after_it(shore, files):
    await shore.together(*(partial(shore.land, f"{key}.mp4") for key in "abc"))
    assert files.calls == 1
    assert shore.log[0] == ("synced", "out")
    assert sorted(shore.log[1:]) == [("told", "a.mp4"), ("told", "b.mp4"), ("told", "c.mp4")]
    assert shore.holds("a.mp4", "b.mp4", "c.mp4")


async def test_each_folder_is_synced_once(shore):
    await shore.together(*(partial(shore.land, name) for name in ("x/a.mp4", "y/a.mp4", "x/b.mp4")))
    assert sorted(shore.log[:2]) == [("synced", "x"), ("synced", "y")]
    assert len(shore.log) == 2 + 3


@pytest.mark.parametrize("error", [BadFile("it is another"), Gone(), StorageError("the disk is full")], ids=repr)
async def test_the_trouble_of_one_clip_is_its_own(shore, error):
    await shore.together(
        partial(shore.land, "a.mp4"),
        partial(shore.land, "b.mp4", partial(_refuse, error)),
        partial(shore.land, "a/c.mp4"),
    )
    assert shore.ends["b.mp4"] is error
    assert shore.holds("a.mp4", "a/c.mp4")


async def test_a_clip_whose_part_cannot_be_made_leaves_the_others_alone(shore):
    shore.outputs.root.mkdir()
    (shore.outputs.root / "day").write_bytes(b"a file of the user's")
    await shore.together(partial(shore.land, "day/a.mp4"), partial(shore.land, "b.mp4"))
    assert isinstance(shore.ends["day/a.mp4"], StorageError)
    assert shore.ends["b.mp4"].bytes == 5


async def test_a_name_that_may_not_be_durable_is_no_clip(shore):
    shore.refused = "x"
    await shore.together(*(partial(shore.land, name) for name in ("x/a.mp4", "y/a.mp4", "x/b.mp4")))
    for lost in ("x/a.mp4", "x/b.mp4"):
        assert isinstance(shore.ends[lost], StorageError)
        assert COLLECT_AGAIN in shore.ends[lost].fix
        assert shore.outputs.second_name(lost, owner="task").exists()  # by which the next run knows it for its own
    assert shore.ends["y/a.mp4"].bytes == 7


async def test_second_names_go_with_the_next_group_or_are_tidied_away(shore, files):
    await shore.land("a.mp4")
    shore.landings.forget(shore.outputs.second_name("a.mp4", owner="task"))
    assert len(list(shore.outputs.root.iterdir())) == 2
    await shore.land("b.mp4")
    second = shore.outputs.second_name("b.mp4", owner="task")
    assert sorted(path.name for path in shore.outputs.root.iterdir()) == ["a.mp4", "b.mp4", second.name]
    assert files.calls == 2
    shore.landings.forget(second)
    await shore.landings.tidy()
    await shore.landings.tidy()
    assert sorted(path.name for path in shore.outputs.root.iterdir()) == ["a.mp4", "b.mp4"]
    assert files.calls == 3


async def test_clips_that_come_one_after_the_other_gather_but_the_first_waits_for_none(shore, files):
    began = anyio.current_time()
    await shore.land("first.mp4")
    assert anyio.current_time() - began < APART
    async with anyio.create_task_group() as tasks:
        for key in "abc":
            tasks.start_soon(shore.land, f"{key}.mp4")
            await anyio.sleep(APART / 4)
    assert files.calls == 2
    assert shore.holds("first.mp4", "a.mp4", "b.mp4", "c.mp4")


class HungDisk:
    """Threads that come back when they are told to."""

    def __init__(self, monkeypatch):
        self.at_work, self.answers = 0, anyio.Event()
        monkeypatch.setattr(anyio.to_thread, "run_sync", self._run_sync)

    async def _run_sync(self, work, *told, **_):
        self.at_work += 1
        await self.answers.wait()
        work(*told)
        self.at_work -= 1


async def test_behind_a_slow_disk_a_few_groups_are_at_work_and_the_rest_waits_together(shore, monkeypatch):
    disk = HungDisk(monkeypatch)
    async with anyio.create_task_group() as tasks:
        seen = []
        for number in range(GROUPS + 3):
            tasks.start_soon(shore.land, f"{number}.mp4")
            await anyio.sleep(PATIENCE / 2)
            seen.append(disk.at_work)
            await anyio.sleep(PATIENCE)
        assert seen == [1, 1, 2, 3, 4, 4, 4]
        tasks.start_soon(partial(shore.land, "large.mp4", alone=True))
        await anyio.sleep(PATIENCE)
        assert disk.at_work == GROUPS + 1
        disk.answers.set()
    assert len(shore.ends) == GROUPS + 4
    assert len([kind for kind, _ in shore.log if kind == "synced"]) == GROUPS + 2


async def test_a_clip_lands_although_the_run_is_cancelled_meanwhile(shore, monkeypatch):
    disk = HungDisk(monkeypatch)
    async with anyio.create_task_group() as tasks:
        for name in ("a.mp4", "b.mp4"):
            tasks.start_soon(shore.land, name)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        disk.answers.set()
    assert shore.holds("a.mp4", "b.mp4")


async def test_the_end_of_the_process_in_a_group_is_the_end_of_all_of_it(shore, files):
    class End(BaseException):
        pass

    def end():
        raise End

    files.before = end
    with pytest.raises(BaseExceptionGroup) as caught:
        await shore.together(*(partial(shore.land, f"{key}.mp4") for key in "ab"))
    assert caught.group_contains(End)
    assert shore.ends == {}
