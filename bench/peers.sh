#!/bin/sh
# Makes the peers that bench/run.py measures beside ours: kube-apiserver, kube-controller-manager and kube-scheduler of Debian's source package
# kubernetes (1.20; of its programs Debian packages kubectl alone), into build/peers.
#
#   bench/peers.sh [FILE.dsc]     the source package when it is already there; else apt-get fetches it (deb-src lines are needed)
#
# Needs: apt-get install golang-go dpkg-dev etcd-server (Debian 12: Go 1.19, etcd 3.4). Takes minutes and 3 GB.
set -eu
cd "$(dirname "$0")/.."
dsc=${1:+$(realpath "$1")}
peers=$PWD/build/peers
mkdir -p "$peers/gopath/src/k8s.io"
tree=$peers/gopath/src/k8s.io/kubernetes
if [ ! -d "$tree" ]; then
  if [ -z "$dsc" ]; then
    (cd "$peers" && apt-get source --download-only kubernetes)
    dsc=$(ls "$peers"/kubernetes_*.dsc)
  fi
  dpkg-source --no-check -x "$dsc" "$tree"
fi
export GO111MODULE=off GOFLAGS= CGO_ENABLED=0 GOPATH="$peers/gopath" GOCACHE="${GOCACHE:-$peers/cache}"
cd "$tree"

# The one file that a build of Kubernetes generates and its source does not have: the types' OpenAPI.
openapi=pkg/generated/openapi
if [ ! -f $openapi/zz_generated.openapi.go ]; then
  go build -o "$peers/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  packages=$(grep -rl --include=*.go '+k8s:openapi-gen=true' staging/src/k8s.io pkg/apis | grep -v -e /testdata/ -e /code-generator/ -e /sample- -e _test.go |
    xargs -n 1 dirname | sort -u | sed -e 's,^staging/src/,k8s.io/kubernetes/vendor/,' -e 's,^pkg/,k8s.io/kubernetes/pkg/,' | paste -s -d ,)
  "$peers/openapi-gen" -i "$packages" -p k8s.io/kubernetes/$openapi -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
    -r "$peers/openapi.report" --output-base "$GOPATH/src"
fi

# The version that they tell.
version=$(sed -n '1s/.*(\([0-9.]*\)+really\([0-9.]*\)-.*/\2/p' debian/changelog)
symbols="-X k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion=v${version:-1.20.2}"
for program in kube-apiserver kube-controller-manager kube-scheduler; do
  go build -ldflags "-s -w $symbols" -o "$peers/$program" k8s.io/kubernetes/cmd/$program
  echo "$peers/$program"
done
