"""Posts deliveries for some seconds over connections that stay open, each sender one after the other. A process of its
own: it prints the seconds that each acknowledgement took, as JSON."""

import hashlib
import hmac
import http.client
import json
import sys
import threading
import time
from uuid import uuid4


def send(port: int, path: str, until: float, took: list[float], size: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.perf_counter() < until:
        key = uuid4().hex
        body = json.dumps({"n": 1, "key": key, "more": "x" * size}).encode()
        signature = hmac.new(b"s", body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": f"sha256={signature}",
            "X-GitHub-Delivery": key,
            "X-GitHub-Event": "push",
        }
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
        if answer.status != 202:
            raise SystemExit(f"{path} answered {answer.status}")


def main() -> None:
    port, path, senders, seconds, size = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
    took: list[float] = []
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=send, args=(port, path, until, took, size)) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main()
