"""Workers: as many as were ever busy at once, each for one action after the other."""

import anyio
import pytest

from batchrunner.runner.crew import Crew

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("at_once", [1, 3])
async def test_workers_are_as_many_as_were_busy_at_once_and_leave_no_action_out(at_once):
    done, before = [], len(anyio.get_running_tasks())
    async with anyio.create_task_group() as tasks:
        crew = Crew(tasks)
        for number in range(0, 30, at_once):
            left = anyio.Semaphore(0)

            async def action(number, left=left):
                await anyio.lowlevel.checkpoint()
                done.append(number)
                left.release()

            for one in range(number, number + at_once):
                crew.begin(lambda one=one, action=action: action(one))
            for _ in range(at_once):
                await left.acquire()
            await anyio.wait_all_tasks_blocked()
        assert len(anyio.get_running_tasks()) - before == at_once
        tasks.cancel_scope.cancel()
    assert sorted(done) == list(range(30))


async def test_what_is_begun_by_an_action_is_carried_out_beside_it():
    seen = []
    async with anyio.create_task_group() as tasks:
        crew, met = Crew(tasks), anyio.Event()

        async def inner():
            seen.append("inner")
            met.set()

        async def outer():
            crew.begin(inner)
            await met.wait()
            seen.append("outer")
            tasks.cancel_scope.cancel()

        crew.begin(outer)
    assert seen == ["inner", "outer"]
