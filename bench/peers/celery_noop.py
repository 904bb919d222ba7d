"""Celery with Redis: no results, late acknowledgement off, which is its fastest.

    celery_noop.py submit CLIENTS SECONDS    one delay() after the other in each process; prints how many a second
    celery_noop.py bulk N                    N without a pause over one connection; prints how many a second
    celery_noop.py drain N                   waits for a worker to work off N tasks; prints how many a second
    celery_noop.py latency N MS              N tasks with results, MS apart: milliseconds from delay()'s return to the result
    celery -A celery_noop worker             the worker
"""
import multiprocessing
import os
import sys
import time

import redis
from celery import Celery

url = 'redis+socket://' + os.environ['REDIS_SOCKET']
app = Celery('celery_noop', broker=url, backend=url)
app.conf.update(worker_prefetch_multiplier=128, task_acks_late=False, worker_send_task_events=False)


@app.task(ignore_result=True)
def noop():
    pass


@app.task
def with_result():
    return None


def submit_for(seconds):
    end = time.monotonic() + seconds
    n = 0
    while time.monotonic() < end:
        noop.delay()
        n += 1
    return n


def submit(clients, seconds):
    with multiprocessing.Pool(clients) as pool:
        print(round(sum(pool.map(submit_for, [seconds] * clients, chunksize=1)) / seconds))


def bulk(n):
    start = time.monotonic()
    with app.producer_pool.acquire() as producer:
        for _ in range(n):
            noop.apply_async(producer=producer)
    print(round(n / (time.monotonic() - start)))


def drain(n):
    connection = redis.Redis(unix_socket_path=os.environ['REDIS_SOCKET'])
    while connection.llen('celery') >= n:
        time.sleep(0.002)
    start = time.monotonic()
    while connection.llen('celery') or connection.hlen('unacked'):
        time.sleep(0.005)
    print(round(n / (time.monotonic() - start)))


def latency(n, ms):
    for _ in range(n):
        result = with_result.delay()
        start = time.monotonic()
        result.get(interval=0.001)
        print('%.2f' % (1000 * (time.monotonic() - start)))
        time.sleep(ms / 1000)


if __name__ == '__main__':
    {'submit': submit, 'bulk': bulk, 'drain': drain, 'latency': latency}[sys.argv[1]](*map(int, sys.argv[2:]))
