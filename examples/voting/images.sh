#!/usr/bin/env bash
# Builds the images of the voting application from Debian packages and pushes them to REGISTRY (plain HTTP; "-": builds only).
# Needs mmdebstrap, python3 and skopeo. DIR (default: a temporary one) keeps the root file systems for the next time.
set -euo pipefail
registry=${1:?usage: images.sh REGISTRY [DIR]}
here=$(cd "$(dirname "$0")" && pwd)
work=${2:-$(mktemp -d)}
[ -n "${2:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"

root() {  # name packages
  [ -f "$work/$1.tar" ] && return
  mmdebstrap --quiet --variant=extract --include="base-files,busybox-static,$2" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libLLVM*' --dpkgopt='path-exclude=/usr/lib/llvm-*' \
    bookworm - >"$work/$1.tar.part"
  mv "$work/$1.tar.part" "$work/$1.tar"
}

root app python3-minimal,libpython3-stdlib,python3-redis,python3-psycopg2
root redis redis-server
root db postgresql-15

for name in vote worker result redis db; do
  rm -rf "${work:?}/$name.oci"
  python3 "$here/layout.py" "$name" "$work" "$here/app"
  [ "$registry" = - ] && continue
  skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$work/$name.oci:latest" "docker://$registry/voting-$name:v1"
  echo "$registry/voting-$name:v1"
done
