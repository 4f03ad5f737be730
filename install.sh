#!/bin/sh
# Installs appliance on this host and starts it. Run again, it upgrades in place; pods keep running.
#
#   ./install.sh                          in a source tree on Debian 12: installs build dependencies, builds, installs, starts a server
#   curl -sfL URL/install.sh | sh -       installs a released binary (checksum verified) and starts a server
#   ... | APPLIANCE_JOIN=https://SERVER:6443 APPLIANCE_TOKEN=... sh -      makes this host an agent
#
# Variables (APPLIANCE_* are also kept for the service):
#   INSTALL_APPLIANCE_BIN          install this local binary: for hosts without internet
#   INSTALL_APPLIANCE_BIN_SHA256   its expected checksum (optional)
#   INSTALL_APPLIANCE_URL          base URL of a release: URL/appliance and URL/appliance.sha256 are fetched
#   INSTALL_APPLIANCE_SOURCE       source tree to build (default: the directory of this script, when it is one)
#   INSTALL_APPLIANCE_EXEC         further flags of the service: "--node-label disk=ssd"
#   INSTALL_APPLIANCE_BIN_DIR      where the binary goes (default /usr/local/bin)
#   INSTALL_APPLIANCE_SYSTEMD_DIR  where the unit goes (default /etc/systemd/system)
#   INSTALL_APPLIANCE_SKIP_START   "true": install, do not start
set -eu

say() { printf '%s\n' "appliance: $*"; }
die() { printf '%s\n' "appliance: $*" >&2; exit 1; }

BIN_DIR=${INSTALL_APPLIANCE_BIN_DIR:-/usr/local/bin}
UNIT_DIR=${INSTALL_APPLIANCE_SYSTEMD_DIR:-/etc/systemd/system}
CONFIG_DIR=/etc/appliance
ENV_FILE=$CONFIG_DIR/environment
RUN_DIR=${APPLIANCE_RUN_DIR:-/run/appliance}
DATA_DIR=${APPLIANCE_DATA_DIR:-/var/lib/appliance}
LOG=/var/log/appliance.log
KUBECONFIG_FILE=${APPLIANCE_WRITE_KUBECONFIG:-/etc/appliance/kubeconfig.yaml}
PORT=${APPLIANCE_HTTPS_LISTEN_PORT:-6443}

[ "$(id -u)" = 0 ] || die "this needs root: run it with sudo"
[ "$(uname -s)" = Linux ] || die "this runs on Linux only"
case "$(uname -m)" in x86_64 | amd64) ;; *) die "there is no build for $(uname -m) yet" ;; esac

ROLE=server
[ -n "${APPLIANCE_JOIN:-}" ] && ROLE=agent
if [ "$ROLE" = agent ] && [ -z "${APPLIANCE_TOKEN:-}${APPLIANCE_TOKEN_FILE:-}" ] && [ ! -e "$DATA_DIR/agent" ]; then
  die "APPLIANCE_JOIN needs APPLIANCE_TOKEN: on the server, 'appliance token' prints it"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

verify() { # file expected-sha256
  [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ] || die "the checksum of the binary is wrong: nothing was installed"
}

fetch() { # url file
  if command -v curl >/dev/null; then curl -sfL -o "$2" "$1"; else wget -q -O "$2" "$1"; fi || die "cannot fetch $1"
}

build() { # source tree
  say "installing build dependencies"
  sh "$1/.ci/dependencies" build >"$work/apt.log" 2>&1 || { tail -20 "$work/apt.log" >&2; die "installing packages failed"; }
  say "building (some minutes)"
  (cd "$1" && cmake --preset release -DAPPLIANCE_TESTS=OFF >"$work/build.log" 2>&1 && cmake --build --preset release >>"$work/build.log" 2>&1) ||
    { tail -30 "$work/build.log" >&2; die "the build failed"; }
}

here=
case "$0" in */install.sh | install.sh) here=$(cd "$(dirname "$0")" && pwd) ;; esac
source_tree=${INSTALL_APPLIANCE_SOURCE:-$here}

if [ -n "${INSTALL_APPLIANCE_BIN:-}" ]; then
  [ -f "$INSTALL_APPLIANCE_BIN" ] || die "there is no file $INSTALL_APPLIANCE_BIN"
  [ -z "${INSTALL_APPLIANCE_BIN_SHA256:-}" ] || verify "$INSTALL_APPLIANCE_BIN" "$INSTALL_APPLIANCE_BIN_SHA256"
  new=$INSTALL_APPLIANCE_BIN
elif [ -n "${INSTALL_APPLIANCE_URL:-}" ]; then
  say "fetching $INSTALL_APPLIANCE_URL/appliance"
  fetch "$INSTALL_APPLIANCE_URL/appliance" "$work/appliance"
  fetch "$INSTALL_APPLIANCE_URL/appliance.sha256" "$work/appliance.sha256"
  verify "$work/appliance" "$(cut -d' ' -f1 <"$work/appliance.sha256")"
  new=$work/appliance
elif [ -n "$source_tree" ] && [ -f "$source_tree/CMakePresets.json" ]; then
  build "$source_tree"
  new=$source_tree/build/release/appliance
else
  die "say where the binary comes from: INSTALL_APPLIANCE_URL, or INSTALL_APPLIANCE_BIN for a local file"
fi

chmod +x "$new" 2>/dev/null || true
"$new" version >/dev/null || die "$new does not run on this host"
mkdir -p "$BIN_DIR" "$CONFIG_DIR"
# A running binary cannot be written over, but its name can be given to another file.
cp "$new" "$BIN_DIR/.appliance.new"
chmod 0755 "$BIN_DIR/.appliance.new"
mv -f "$BIN_DIR/.appliance.new" "$BIN_DIR/appliance"

# What was given this time wins over what an earlier run kept.
touch "$ENV_FILE"
chmod 0600 "$ENV_FILE"
env | grep '^APPLIANCE_' >"$work/env" || true
while IFS= read -r line; do
  name=${line%%=*}
  grep -v "^$name=" "$ENV_FILE" >"$work/kept" || true
  cat "$work/kept" >"$ENV_FILE"
  printf '%s\n' "$line" >>"$ENV_FILE"
done <"$work/env"
if grep -q '^APPLIANCE_JOIN=' "$ENV_FILE"; then ROLE=agent; fi

start_systemd() {
  mkdir -p "$UNIT_DIR"
  cat >"$UNIT_DIR/appliance.service" <<EOF
[Unit]
Description=appliance: a Kubernetes-compatible cluster ($ROLE)
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target
# Keeps trying: the network of an edge host may come late.
StartLimitIntervalSec=0

[Service]
Type=exec
EnvironmentFile=-$ENV_FILE
ExecStart=$BIN_DIR/appliance $ROLE ${INSTALL_APPLIANCE_EXEC:-}
Restart=always
RestartSec=1
# Pods are not part of the service: they outlive a restart.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
EOF
  systemctl daemon-reload
  systemctl enable appliance.service >/dev/null 2>&1
  systemctl restart appliance.service
}

start_daemon() {
  if [ -f "$RUN_DIR/appliance.pid" ]; then
    pid=$(cat "$RUN_DIR/appliance.pid")
    if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
      kill "$pid"
      n=0
      while kill -0 "$pid" 2>/dev/null && [ $n -lt 150 ]; do sleep 0.1; n=$((n + 1)); done
    fi
  fi
  (
    set -a
    # shellcheck disable=SC1090
    while IFS= read -r line; do export "${line?}"; done <"$ENV_FILE"
    # shellcheck disable=SC2086
    setsid "$BIN_DIR/appliance" $ROLE ${INSTALL_APPLIANCE_EXEC:-} >>"$LOG" 2>&1 </dev/null &
  )
}

if [ "${INSTALL_APPLIANCE_SKIP_START:-}" = true ]; then
  say "installed $BIN_DIR/appliance; not started"
  exit 0
fi

rm -f "$work/ready"
if [ -d /run/systemd/system ]; then start_systemd; else start_daemon; fi

logs() { if [ -d /run/systemd/system ]; then journalctl -u appliance -n 20 --no-pager >&2 || true; else tail -20 "$LOG" >&2 || true; fi; }

n=0
until "$BIN_DIR/appliance" status --data-dir "$DATA_DIR" --run-dir "$RUN_DIR" --wait-ready >"$work/status" 2>&1; do
  n=$((n + 1))
  if [ $n -gt 60 ]; then
    logs
    die "the node is not Ready after a minute"
  fi
  sleep 1
done

say "this node is Ready"
cat "$work/status"
if [ "$ROLE" = server ]; then
  address=$(sed -n 's/^address *//p' "$work/status")
  cat <<EOF

Join another host with
  curl -sfL .../install.sh | APPLIANCE_JOIN=https://${address:-THIS-HOST}:$PORT APPLIANCE_TOKEN=$("$BIN_DIR/appliance" token --data-dir "$DATA_DIR") sh -
or, where the binary is already there,
  appliance agent --join https://${address:-THIS-HOST}:$PORT --token $("$BIN_DIR/appliance" token --data-dir "$DATA_DIR")

Use kubectl with
  export KUBECONFIG=$KUBECONFIG_FILE
  kubectl get nodes
EOF
fi
