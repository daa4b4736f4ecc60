"""What people write instead: `python -m tests.bench.naive httpx|aiohttp|aiometer URL JOBS LIMIT POLL FOLDER`.

Everything in memory, nothing is recorded, a death loses all; the file is written as it comes.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from pathlib import Path

BODY = {"model": "kling-v3", "mode": "std", "duration": 5, "aspect_ratio": "16:9", "audio": False}
PATH = "/v1/videos/generations"
HEADERS = {"Authorization": "Bearer sk-bench-0123456789"}


async def with_httpx(url: str, jobs: int, limit: int, poll: float, folder: Path, *, aiometer: bool = False) -> None:
    import httpx

    limits = asyncio.Semaphore(limit)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60) as client:

        async def job(number: int) -> None:
            async with limits:
                made = await client.post(PATH, json=BODY | {"prompt": f"clip {number}"})
                task_id = made.raise_for_status().json()["id"]
                while True:
                    await asyncio.sleep(poll)
                    task = (await client.get(f"{PATH}/{task_id}")).raise_for_status().json()
                    if task["status"] == "completed":
                        break
                clip = (await client.get(task["result"]["data"][0]["url"])).raise_for_status().content
                (folder / f"{number}.mp4").write_bytes(clip)

        if aiometer:
            from aiometer import run_all

            await run_all([functools.partial(job, number) for number in range(jobs)], max_at_once=limit)
        else:
            await asyncio.gather(*map(job, range(jobs)))


async def with_aiohttp(url: str, jobs: int, limit: int, poll: float, folder: Path) -> None:
    import aiohttp

    limits = asyncio.Semaphore(limit)
    async with aiohttp.ClientSession(url, headers=HEADERS, raise_for_status=True) as client:

        async def job(number: int) -> None:
            async with limits:
                async with client.post(PATH, json=BODY | {"prompt": f"clip {number}"}) as made:
                    task_id = (await made.json())["id"]
                while True:
                    await asyncio.sleep(poll)
                    async with client.get(f"{PATH}/{task_id}") as answer:
                        task = await answer.json()
                    if task["status"] == "completed":
                        break
                async with client.get(task["result"]["data"][0]["url"]) as clip:
                    (folder / f"{number}.mp4").write_bytes(await clip.read())

        await asyncio.gather(*map(job, range(jobs)))


if __name__ == "__main__":
    kind, url, jobs, limit, poll, folder = sys.argv[1:]
    named = (url, int(jobs), int(limit), float(poll), Path(folder))
    if kind == "aiohttp":
        asyncio.run(with_aiohttp(*named))
    else:
        asyncio.run(with_httpx(*named, aiometer=kind == "aiometer"))
