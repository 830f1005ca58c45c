#!/bin/sh
# Builds the programs of one module under tests/tools and links them into target/tools.
#
#   tests/tools/build.sh NAME
#
# What is built is kept in a cache named by the module's go.mod and go.sum, so that it is built
# once for all worktrees, and again only when a version changes.
set -eu

# Raise this when the same go.mod would be built to something else by a change below.
recipe=1

name=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
view=${OCM_TOOLS:-$root/target/tools}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ocm-controller/tools

say() { echo "tools: $*"; }
fail() { echo "tools: $*" >&2; exit 1; }

command -v git >/dev/null || fail "git is missing; install your system's package git"
command -v go >/dev/null || fail "Go is missing; install Go 1.26 or newer from https://go.dev/dl"
[ -f "$root/tests/tools/$name/go.mod" ] || fail "there is no module tests/tools/$name"
cd "$root/tests/tools/$name"
key=$( (cat go.mod go.sum; echo "$recipe") | git hash-object --stdin | cut -c1-12)
built=$cache/$name-$key

# The version that go.mod requires of a module.
version() { go list -m -f '{{.Version}}' "$1"; }

# What the upstream release sets at link time and other programs look at.
link_flags() {
    case $name in
    kubernetes)
        # Without it the server calls itself v0.0.0-master, which Helm charts refuse.
        echo "-X k8s.io/component-base/version.gitVersion=$(version k8s.io/kubernetes)" ;;
    helm)
        # The Kubernetes version that `helm template` assumes follows client-go: v0.MINOR.PATCH.
        minor=$(version k8s.io/client-go | cut -d. -f2)
        echo "-X helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)"
        for package in chartutil lint/rules; do
            echo "-X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1"
            echo "-X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$minor"
        done ;;
    esac
}

# Joined by &&, because `set -e` has no effect in what stands left of an ||.
build() {
    flags="-s -w $(link_flags | tr '\n' ' ')" &&
    mkdir "$1/bin" &&
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$1/bin/" tool || return
    case $name in
    etcd)
        # The main package is the module's root, and the program is called as its folder.
        mv "$1/bin/server" "$1/bin/etcd" ;;
    *-controller)
        mkdir "$1/crds" &&
        cp "$(go list -m -f '{{.Dir}}' "github.com/fluxcd/$name")"/config/crd/bases/*.yaml "$1/crds/" &&
        chmod u+w "$1"/crds/* ;;
    esac
}

if [ ! -d "$built" ]; then
    mkdir -p "$cache"
    # Where there is flock(1), a second make waits for the first one's result.
    if command -v flock >/dev/null; then
        exec 9>"$cache/$name.lock"
        flock 9
    fi
fi
if [ ! -d "$built" ]; then
    begun=$(date +%s)
    say "building $name (first time only, up to some minutes; log: $cache/$name.log)"
    unfinished=$(mktemp -d "$cache/.$name.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    trap 'exit 1' HUP INT TERM
    build "$unfinished" >"$cache/$name.log" 2>&1 || {
        tail -n 20 "$cache/$name.log" >&2
        fail "$name was not built; see above and $cache/$name.log"
    }
    chmod 755 "$unfinished"
    [ -d "$built" ] || mv "$unfinished" "$built"
    say "$name built in $(($(date +%s) - begun)) s"
fi

mkdir -p "$view/bin" "$view/crds"
for program in "$built"/bin/*; do
    ln -sfn "$program" "$view/bin/"
done
if [ -d "$built/crds" ]; then
    ln -sfn "$built/crds" "$view/crds/$name"
fi
