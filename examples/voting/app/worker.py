"""Moves votes from Redis to PostgreSQL. A vote leaves the queue only when it is committed."""
import json
import os
import time

import psycopg2
import redis

queue = redis.Redis(host=os.environ.get("REDIS_HOST", "redis"), socket_timeout=30)


def connect():
    db = psycopg2.connect(host=os.environ.get("DB_HOST", "db"), user="postgres", password=os.environ["DB_PASSWORD"], dbname="postgres", connect_timeout=5, tcp_user_timeout=5000)
    with db, db.cursor() as c:
        c.execute("CREATE TABLE IF NOT EXISTS votes (id text PRIMARY KEY, choice text NOT NULL)")
    return db


while True:
    try:
        db = connect()
        print("connected", flush=True)
        while True:
            entry = queue.blmove("votes", "working", 10, "LEFT", "RIGHT")
            for entry in ([entry] if entry else []) or queue.lrange("working", 0, -1):
                vote = json.loads(entry)
                with db, db.cursor() as c:
                    c.execute("INSERT INTO votes VALUES (%s, %s) ON CONFLICT DO NOTHING", (vote["id"], vote["choice"]))
                queue.lrem("working", 1, entry)
    except (redis.RedisError, psycopg2.Error) as e:
        print(f"waiting: {e}".strip(), flush=True)
        time.sleep(1)
