#!/bin/busybox sh
# Makes the database on first start, then becomes the server. Runs as the user postgres.
set -eu
bin=/usr/lib/postgresql/15/bin
if [ ! -f "$PGDATA/PG_VERSION" ]; then
  printf '%s' "$DB_PASSWORD" >/tmp/password
  $bin/initdb -D "$PGDATA" -U postgres --auth=scram-sha-256 --pwfile=/tmp/password --encoding=UTF8 --locale=C >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
rm -f "$PGDATA/postmaster.pid"
exec $bin/postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
