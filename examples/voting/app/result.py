"""Shows the count: GET / as a page, GET /counts as JSON."""
import http.server
import json
import os

import psycopg2

PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Result</title>
<style>body{{font:18px sans-serif;max-width:30em;margin:3em auto}}</style><h1>Result</h1><p>Cats: {cats}</p><p>Dogs: {dogs}</p>"""


def counts():
    db = psycopg2.connect(host=os.environ.get("DB_HOST", "db"), user="postgres", password=os.environ["DB_PASSWORD"], dbname="postgres", connect_timeout=5, tcp_user_timeout=5000)
    try:
        with db.cursor() as c:
            c.execute("SELECT choice, count(*) FROM votes GROUP BY choice")
            return {"cats": 0, "dogs": 0, **dict(c.fetchall())}
    except psycopg2.errors.UndefinedTable:
        return {"cats": 0, "dogs": 0}
    finally:
        db.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status, kind = 200, "text/plain"
        try:
            if self.path == "/healthz":
                text = "ok"
            elif self.path == "/counts":
                text, kind = json.dumps(counts()), "application/json"
            else:
                text, kind = PAGE.format(**counts()), "text/html; charset=utf-8"
        except psycopg2.Error as e:
            status, text = 503, f"the database is not there: {e}"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
