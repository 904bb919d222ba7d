#!/usr/bin/env python3
"""An external worker in Python: claims tasks and calls a function for each.

    examples/worker.py --queue mails

Needs psycopg2 (Debian: python3-psycopg2).  Connects with the usual PG*
variables, as a role that has taskq_worker and was given the kinds:
SELECT taskq.kind_grant('send_mail', 'mailer', 'work').

Write handlers at the bottom.  A handler gets a Task and returns what becomes the
result (anything that JSON has).  It raises Fail("why") when another attempt
makes no sense; every other exception is tried again.  task.progress(...) reports,
task.cancelled tells whether somebody wants it to stop.

What a worker has to get right, and how this one does:
  - the claim is committed before the work begins
  - heartbeats go on while a handler runs, from a thread with its own connection
  - it sleeps on LISTEN, and looks again now and then in case a notification was missed
  - a claim that is lost is dropped: its result is not handed in
  - SIGTERM lets no new task begin, and gives the current one back
  - the server being away is waited out
"""

import argparse
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback

import psycopg2

HANDLERS = {}


def handler(kind):
    """Decorator: this function runs tasks of that kind."""

    def register(function):
        HANDLERS[kind] = function
        return function

    return register


class Fail(Exception):
    """The task failed, and trying again makes no sense."""


class Lost(Exception):
    """The claim is lost: somebody else has the task by now."""


class Stopped(Exception):
    """The worker shuts down."""


class Task:
    """One attempt at a task."""

    def __init__(self, row, lease):
        self.id, self.token, self.kind, self.payload, self.attempt = row
        self.lease = lease
        self.cancelled = False
        self.lost = False
        self.stopping = False
        self._report = {}
        self._wake = threading.Event()

    def progress(self, current, total=None, message=None):
        """Report; goes out with the next heartbeat.  Raises when it is no use to go on."""
        self._report = {"current": current, "total": total, "message": message}
        self._wake.set()
        self.check()

    def check(self):
        """Raise if the claim is lost or the worker is to stop."""
        if self.lost:
            raise Lost()
        if self.stopping:
            raise Stopped()

    def keep_alive(self, done):
        """Heartbeats until done is set; in a thread of its own."""
        connection = None
        while not done.is_set():
            self._wake.wait(self.lease / 3)
            self._wake.clear()
            if done.is_set():
                break
            try:
                if connection is None:
                    connection = connect()
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT cancel_requested FROM taskq.task_heartbeat(%s, %s, current => %s, total => %s, message => %s)",
                        (self.id, self.token, self._report.get("current"), self._report.get("total"), self._report.get("message")),
                    )
                    self.cancelled |= cursor.fetchone()[0]
            except psycopg2.Error as error:
                if gone(error):
                    connection = None  # the server is away: try again
                    time.sleep(1)
                elif (error.pgcode or "").startswith("PT4"):
                    self.lost = True
                    break
                else:
                    print(f"heartbeat of task {self.id}: {error}", file=sys.stderr)
        if connection is not None:
            connection.close()


def connect():
    connection = psycopg2.connect("")
    connection.autocommit = True  # no claim stays in an open transaction
    return connection


def gone(error):
    """Is it the connection that broke?  In the midst of a query that is a plain DatabaseError."""
    return isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError)) or type(error) is psycopg2.DatabaseError


class Worker:
    def __init__(self, arguments):
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.queues = arguments.queue
        self.kinds = arguments.kind or list(HANDLERS)
        self.lease = arguments.lease
        self.connection = None
        self.task = None
        self.stopping = False
        # a signal ends select() through this pipe
        self.signal_read, signal_write = os.pipe()
        os.set_blocking(signal_write, False)
        signal.set_wakeup_fd(signal_write)
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)

    def stop(self, *_):
        self.stopping = True
        if self.task is not None:
            self.task.stopping = True

    def execute(self, query, arguments=()):
        """One query; while the server is away, again and again.  No rows are None."""
        while True:
            try:
                if self.connection is None:
                    self.connection = connect()
                    self.listen()
                with self.connection.cursor() as cursor:
                    cursor.execute(query, arguments)
                    return cursor.fetchone()
            except psycopg2.Error as error:
                if not gone(error):
                    raise
                print(f"{self.name}: {error}", file=sys.stderr)
                self.connection = None
                time.sleep(1)

    def listen(self):
        with self.connection.cursor() as cursor:
            for queue in self.queues:
                cursor.execute('LISTEN "{}"'.format(f"taskq:ready:{queue}"[:63].replace('"', '""')))

    def claim(self):
        row = self.execute(
            "SELECT id, token, kind, payload, attempt FROM taskq.task_claim(%s, %s, %s, lease => make_interval(secs => %s))",
            (self.name, self.queues, self.kinds, self.lease),
        )
        return None if row is None else Task(row, self.lease)

    def sleep(self):
        """Until there is news, a signal, or half a minute is over."""
        try:
            ready, _, _ = select.select([self.connection, self.signal_read], [], [], 30)
            if self.connection in ready:
                self.connection.poll()
                self.connection.notifies.clear()
        except (psycopg2.Error, ValueError):
            self.connection = None

    def run(self, task):
        """Call the handler, with heartbeats beside it, and hand in how it ended."""
        done = threading.Event()
        heartbeats = threading.Thread(target=task.keep_alive, args=(done,), daemon=True)
        heartbeats.start()
        self.task = task
        try:
            result = HANDLERS[task.kind](task)
            end = ("SELECT taskq.task_complete(%s, %s, %s)", (json.dumps(result),))
        except Lost:
            end = None
        except Stopped:
            end = ("SELECT taskq.task_release(%s, %s)", ())
        except Fail as error:
            end = ("SELECT taskq.task_fail(%s, %s, %s, retry => false)", (str(error),))
        except Exception as error:  # whatever a handler may raise
            end = (
                "SELECT taskq.task_fail(%s, %s, %s, type => %s, traceback => %s)",
                (str(error), type(error).__name__, traceback.format_exc()),
            )
        finally:
            self.task = None
            done.set()
            task._wake.set()
        if end is None or task.lost:
            print(f"{self.name}: the claim of task {task.id} is lost", file=sys.stderr)
            return
        try:
            self.execute(end[0], (task.id, task.token) + end[1])
        except psycopg2.Error as error:
            # refused: lost meanwhile, or the result is too large; then the lease runs out
            print(f"{self.name}: task {task.id}: {error}", file=sys.stderr)

    def main(self):
        print(f"{self.name}: working on {', '.join(self.kinds)}", file=sys.stderr)
        while not self.stopping:
            task = self.claim()
            if task is None:
                self.sleep()
            elif self.stopping:
                self.execute("SELECT taskq.task_release(%s, %s)", (task.id, task.token))
            else:
                self.run(task)


# ---- handlers: put yours here ----


@handler("example_count")
def count(task):
    """Counts slowly to payload's n."""
    n = int(task.payload.get("n", 10))
    for i in range(n):
        if task.cancelled:
            return {"counted": i, "of": n}
        task.progress(i, n, f"at {i}")
        time.sleep(float(task.payload.get("pause", 0.1)))
    return {"counted": n}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="run tasks of taskq")
    parser.add_argument("--queue", action="append", default=[], required=True, help="claim from this queue (again for more)")
    parser.add_argument("--kind", action="append", default=[], help="only this kind (again for more)")
    parser.add_argument("--lease", type=float, default=60, help="seconds without heartbeat before others may take the task")
    Worker(parser.parse_args()).main()
