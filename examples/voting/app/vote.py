"""The front end: GET / shows the form, POST / with choice=cats|dogs queues a vote in Redis."""
import http.server
import json
import os
import socket
import urllib.parse
import uuid

import redis

CHOICES = ("cats", "dogs")
queue = redis.Redis(host=os.environ.get("REDIS_HOST", "redis"), socket_timeout=5, socket_connect_timeout=5)

PAGE = """<!doctype html><meta charset="utf-8"><title>Cats or dogs?</title>
<style>body{{font:18px sans-serif;max-width:30em;margin:3em auto}}button{{font:inherit;padding:.5em 1.5em;margin-right:1em}}small{{color:#777}}</style>
<h1>Cats or dogs?</h1><form method="post"><button name="choice" value="cats">Cats</button><button name="choice" value="dogs">Dogs</button></form>
<p>{message}</p><small>served by {host}</small>"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text, kind="text/html; charset=utf-8"):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "ok", "text/plain")
        self.answer(200, PAGE.format(message="", host=socket.gethostname()))

    def do_POST(self):
        length = min(int(self.headers.get("Content-Length", 0)), 4096)
        choice = urllib.parse.parse_qs(self.rfile.read(length).decode()).get("choice", [""])[0]
        if choice not in CHOICES:
            return self.answer(400, "choose cats or dogs\n", "text/plain")
        try:
            queue.rpush("votes", json.dumps({"id": str(uuid.uuid4()), "choice": choice}))
        except redis.RedisError as e:
            return self.answer(503, f"the queue is not there: {e}\n", "text/plain")
        self.answer(200, PAGE.format(message=f"You voted for {choice}.", host=socket.gethostname()))

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
