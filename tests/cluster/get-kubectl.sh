#!/usr/bin/env bash
# Puts two real kubectl binaries into DIR: kubectl-1.20 (Debian 12's kubernetes-client) and kubectl-1.32 (Debian 13's kubectl).
# Both packages are only unpacked, never installed.
set -euo pipefail
dir=${1:?usage: get-kubectl.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {  # suite package version-name
  local suite=$1 package=$2 name=$3
  [ -x "$dir/$name" ] && return 0
  local root="$work/$suite"
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/out"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$root/sources.list"
  : >"$root/preferences"
  local options=(-o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$root/lists"
    -o Dir::Cache="$root/cache" -o Dir::State::status=/dev/null -o Dir::Etc::preferences="$root/preferences" -o Dir::Etc::preferencesparts=/dev/null
    -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update -qq
  (cd "$root/out" && apt-get "${options[@]}" download -qq "$package")
  dpkg -x "$root"/out/*.deb "$root/tree"
  install -m 0755 "$root/tree/usr/bin/kubectl" "$dir/$name"
}

fetch bookworm kubernetes-client kubectl-1.20
fetch trixie kubectl kubectl-1.32
