"""Nights: clips are bought in their hours alone, each night is a batch of its own, and no night's clips are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from batchrunner import app

from .world import KEY, Server, World, until

JOBS = [{"id": name, "prompt": f"prompt {name}"} for name in ("a", "b", "c")]


def hours(first: int, last: int) -> str:
    """A window, in hours from now."""
    now = app.now().astimezone()
    return "-".join(f"{now + timedelta(hours=hour):%H:%M}" for hour in (first, last))


def test_outside_of_the_window_nothing_is_bought_and_what_is_paid_for_is_collected(
    world: World, server: Server
) -> None:
    world.manifest(JOBS, limits={"window": hours(4, 8), "max_in_flight": 1})

    closed = world.run()

    assert closed.code == 6, closed.text
    assert "nothing is bought before" in closed.err
    assert server.access == []
    assert world.rows() == []

    server.set_faults({"on": "poll", "do": "wait", "times": 0})
    running = world.start("run", "batch.yaml", "--yes", "--window", "none", "--limit", "1")
    until(lambda: world.states()["running"], "a clip at the provider")
    running.kill()
    server.set_faults()
    server.open()
    collecting = world.run()

    assert collecting.code == 6, collecting.text
    assert world.states() == {"done": 1, "pending": 2}
    assert len(server.ledger) == 1

    opened = world.run("--window", hours(-2, 4))

    assert opened.code == 0, opened.text
    assert len(server.ledger) == 3


def test_each_night_is_a_batch_and_says_what_the_last_one_left(world: World, server: Server) -> None:
    world.manifest(JOBS, name="night-{date}", limits={"window": hours(-2, 4)})
    assert world.run("--date", "2026-11-20", "--limit", "2").code == 0

    tonight = world.run()

    assert tonight.code == 0, tonight.text
    assert "night-2026-11-20 is not finished: 2 done, 1 pending" in tonight.err
    assert "batchrunner run batch.yaml --date 2026-11-20" in tonight.err
    assert len(server.ledger) == 5
    assert world.run().code == 0
    assert len(server.ledger) == 5, "the same night is the same batch"
    assert world.run("--date", "2026-11-20").code == 0
    assert "not finished" not in world.run().err
    assert len(server.ledger) == 6
    assert "night-2026-11-20: 3 done" in world.batchrunner("status", "night-2026-11-20").out

    # another name: late in the evening the window that opens after midnight had its last night today as well
    world.manifest(JOBS, name="later-{date}", limits={"window": hours(2, 4)})
    before = world.batchrunner("plan", "batch.yaml").out
    assert "the coming night is another batch: it is planned with --date 20" in before, (
        "it shows what is left of the last"
    )


def test_the_crontab_line_runs_the_batch_and_an_overlapping_start_harms_nothing(
    world: World, serve: Callable[..., Server]
) -> None:
    server = serve({"on": "submit", "do": "wait", "times": 0})
    world.manifest(JOBS)
    world.manifest(JOBS, path="a 100% night.yaml")
    env_file = world.elsewhere / "the key's file"
    env_file.write_text(f"TOAPIS_API_KEY={KEY}\n")
    env = {"TOAPIS_API_KEY": None}
    words = ["cron", "a 100% night.yaml", "--at", "22:00", "--max-duration", "6h", "--env-file", str(env_file)]
    printed = world.batchrunner("schedule", *words, env=env)
    assert printed.code == 0, printed.text
    assert KEY not in printed.text
    signed = world.batchrunner("schedule", *words, "--", "--set", "first=https://cdn.example/a.png?sig=canary", env=env)
    assert (signed.code, "sig=canary" in signed.text) == (2, False)
    command = printed.out.splitlines()[-1].split(" ", 5)[5].replace("\\%", "%")
    first = world.start("run", "batch.yaml", "--yes")
    until(lambda: server.seen("submit"), "the first run's first submission")

    second = world.start("-c", command, command=["/bin/sh"], env=env).wait()

    assert (second.code, second.text) == (0, ""), "8 is no reason to wake anybody"
    (log,) = world.cwd.glob("*.log")
    assert "this one did nothing" in log.read_text("utf-8")
    server.open()
    assert first.wait().code == 0
    assert world.start("-c", command, command=["/bin/sh"], env=env).wait().text == ""
    assert "3 done" in log.read_text("utf-8")
    assert len(server.ledger) == 6, "two batches"
    assert KEY not in log.read_text("utf-8")
