"""A client of the task management API, as its document's users have one: a class that runs the
four steps of an analysis one after the other, prints summaries, and cleans up.

Told by environment: BASE_URL and TOKEN; POLL, seconds between two looks (30 without)."""
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone


class Answer:
    def __init__(self, status, text):
        self.status_code = status
        self.text = text

    def json(self):
        return json.loads(self.text)


class Requests:
    """As much of the library "requests" as such a client uses."""

    def call(self, method, url, params=None, body=None):
        if params:
            url += "?" + urllib.parse.urlencode(params)
        request = urllib.request.Request(url, method=method)
        request.add_header("Authorization", "Bearer " + os.environ["TOKEN"])
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data) as answer:
                return Answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def get(self, url, params=None):
        return self.call("GET", url, params)

    def post(self, url, json=None):
        return self.call("POST", url, None, json)


requests = Requests()


class TaskMonitor:
    STEPS = ["analyze", "decompile-all", "ai-explain-all", "security-analysis"]

    def __init__(self, api_base):
        self.api_base = api_base

    def create_analysis_workflow(self, binary_id):
        for step in self.STEPS:
            response = requests.post(f"{self.api_base}/binaries/{binary_id}/{step}")
            if response.status_code != 200:
                return False
            task = response.json()["data"]["task"]
            if not self.wait_for_completion(task["id"]):
                return False
        return True

    def wait_for_completion(self, task_id, timeout=3600):
        end = time.time() + timeout
        while time.time() < end:
            response = requests.get(f"{self.api_base}/tasks/{task_id}/status")
            if response.status_code == 200:
                task = response.json()["data"]["task"]
                print(f"task {task_id}: {task['status']} - {task['progress']:.1f}%")
                if task["current_step"]:
                    print(f"  now: {task['current_step']}")
                if task["status"] == "completed":
                    return True
                if task["status"] in ("failed", "cancelled"):
                    return False
            time.sleep(float(os.environ.get("POLL", "30")))
        return False

    def get_task_summary(self):
        response = requests.get(f"{self.api_base}/tasks/statistics")
        if response.status_code != 200:
            return None
        summary = response.json()["data"]["summary"]
        print(f"total tasks: {summary['total_tasks']}, completed: {summary['completed_tasks']}, failed: {summary['failed_tasks']}")
        print(f"success rate: {summary['success_rate']:.1f}%, average time: {summary['average_completion_time']}")
        return summary

    def monitor_queue(self):
        response = requests.get(f"{self.api_base}/queue")
        if response.status_code != 200:
            return None
        data = response.json()["data"]
        print(f"queued: {data['queue_summary']['total_queued']}, duration: {data['queue_summary']['estimated_queue_duration']}")
        for task in data["queue"][:5]:
            print(f"  {task['task_type']} - priority {task['priority']} - {task['binary_name']}")
        return data

    def cleanup_completed_tasks(self, older_than_hours, now):
        """The document's code gets the time as datetime.now(), without a zone; Python refuses to
        compare that with the API's times, which have one."""
        cutoff = now - timedelta(hours=older_than_hours)
        response = requests.get(f"{self.api_base}/tasks", params={"status": "completed,failed", "per_page": 100})
        if response.status_code != 200:
            return False
        old = [task["id"] for task in response.json()["data"]["tasks"]
               if datetime.fromisoformat(task["created_at"].replace("Z", "+00:00")) < cutoff]
        if not old:
            return False
        response = requests.post(f"{self.api_base}/tasks/bulk-action",
                                 json={"action": "delete", "task_ids": old, "reason": "Automated cleanup"})
        print(f"cleaned up {len(old)}: {response.status_code}")
        return response.status_code == 200


if __name__ == "__main__":
    monitor = TaskMonitor(os.environ["BASE_URL"])
    monitor.monitor_queue()
    monitor.get_task_summary()
    done = monitor.create_analysis_workflow("a1b2c3d4-e5f6-7890-abcd-ef1234567890")
    print("workflow completed" if done else "workflow failed")
    summary = monitor.get_task_summary()
    try:
        monitor.cleanup_completed_tasks(48, datetime.now())
        print("nothing raised")
    except TypeError:
        print("raised TypeError")
    # all tasks there are: those older than an hour ago, in an hour's time
    print("cleaned" if monitor.cleanup_completed_tasks(-1, datetime.now(timezone.utc)) else "not cleaned")
    sys.exit(0 if done else 1)
