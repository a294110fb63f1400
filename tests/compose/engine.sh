#!/usr/bin/env bash
# A container engine for a machine that has none and reaches no image registry: podman and stand-in images, all in
# .stack/compose. For root on Debian or Ubuntu.
#
#   tests/compose/engine.sh up      installs podman, makes the images, starts the engine, prints its environment
#   tests/compose/engine.sh down    stops the engine; the images stay for the next time
#   tests/compose/engine.sh compose gives a docker-compose that needs no engine to check files, and no root
set -euo pipefail
cd "$(dirname "$0")/../.."

home=$PWD/.stack/compose
suite=bookworm
compose_suite=trixie # the first Debian with Compose 2
# Where this machine's own packages come from.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)}
packages=(podman runc catatonit netavark aardvark-dns iptables debootstrap debian-archive-keyring)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
export CONTAINERS_CONF=$home/containers.conf

say() { printf 'engine: %s\n' "$1" >&2; }
stop() { say "$1"; exit 1; }
engine() { "$home/engine" "$@"; }

install_podman() {
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
  say "installing podman"
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
}

write_configuration() {
  mkdir -p "$home"
  # Engines ask for more than a confined root may grant.
  printf '[containers]\ndefault_ulimits = ["nofile=%s:%s", "nproc=4096:4096"]\ninit_path = "/usr/bin/catatonit"\n' "$(ulimit -n)" "$(ulimit -n)" \
    >"$CONTAINERS_CONF"
  cat >"$home/engine" <<SCRIPT
#!/bin/sh
CONTAINERS_CONF=$CONTAINERS_CONF exec podman --root $home/images --runroot $home/run --runtime runc \\
  --cgroup-manager cgroupfs "\$@"
SCRIPT
  chmod +x "$home/engine"
}

fetch_compose() {
  [ -x "$home/docker-compose" ] && return
  say "fetching docker-compose from Debian $compose_suite"
  local apt=$home/apt
  mkdir -p "$apt/lists/partial" "$apt/archives/partial"
  touch "$apt/status"
  echo "deb [signed-by=$keys] $mirror $compose_suite main" >"$apt/sources.list"
  local get=(apt-get -qq -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt" -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o APT::Sandbox::User=root)
  (cd "$apt" && "${get[@]}" update && "${get[@]}" download docker-compose && dpkg -x docker-compose_*.deb unpacked)
  cp "$apt/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$home/docker-compose"
  rm -rf "$apt"
}

# Gives --volume options that show a build what this machine's pip is configured with: files, certificates, local indexes.
pip_volumes() {
  local path
  for path in /etc/pip.conf /etc/ssl/certs \
    $(.venv/bin/python -m pip config list | grep -oE "(file://)?/[^ ']+" | sed 's#^file://##; s#/simple/*$##' | sort -u); do
    if [ -d "$path" ] || [ -f "$path" ]; then echo "--volume=$path:$path:ro"; fi
  done
  if [ -f ~/.config/pip/pip.conf ]; then echo "--volume=$HOME/.config/pip/pip.conf:/etc/xdg/pip/pip.conf:ro"; fi
}

build() {
  engine build -q --format docker --network host --pull=never "$@" >/dev/null 2>"$home/build.log" \
    || { tail -n 30 "$home/build.log" >&2; stop "the build of ${*: -1} failed"; }
}

# Apart, because where certificates are mounted no Debian package can put its own.
build_with_pip() {
  local volumes
  mapfile -t volumes < <(pip_volumes | sort -u)
  build "${volumes[@]}" "$@"
}

make_stand_ins() {
  if ! engine image exists stand-in/debian:bookworm; then
    say "making a Debian image"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$home/debian" "$mirror" >"$home/build.log"
    tar -C "$home/debian" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./var/lib/apt/lists/*' \
      --exclude='./var/cache/apt/*' -c . | engine import --quiet - stand-in/debian:bookworm >/dev/null
    rm -rf "$home/debian"
  fi
  local target tag
  for target in python pytorch prometheus alertmanager grafana haproxy postgres; do
    tag=docker.io/$(image_of "$target")
    engine image exists "$tag" && continue
    say "making a stand-in for ${tag#docker.io/}"
    "$([ "$target" = pytorch ] && echo build_with_pip || echo build)" -f tests/compose/stand-ins.Dockerfile --target "$target" -t "$tag" tests/compose
  done
}

# Gives the name under which the shipped files ask for an image.
image_of() {
  case $1 in
    python) sed -n 's/^ARG PYTHON_IMAGE=/library\//p' alertbridge/Dockerfile ;;
    pytorch) sed -n 's/^ARG BASE_IMAGE=//p' exporter/Dockerfile ;;
    haproxy | postgres) sed -n "s/^ *image: \($1:.*\)/library\/\1/p" docker-compose.yml ;;
    *) sed -n "s/^ *image: \([^ ]*\/$1:[^ ]*\)$/\1/p" docker-compose.yml | sort | head -n 1 ;;
  esac
}

# All, or with ONLY what that profile needs.
build_ours() {
  say "building our images"
  local bridge
  bridge=docker.io/$(image_of alertbridge)
  build_with_pip -f alertbridge/Dockerfile -t "$bridge" .
  case ${ONLY:-postgres} in
    postgres) build_with_pip -f alertbridge/Dockerfile --build-arg EXTRAS=postgres -t "$bridge-postgres" . ;;
  esac
  case ${ONLY:-scheduled} in
    demo | scheduled) build_with_pip -f exporter/Dockerfile --target demo -t "docker.io/$(image_of training-demo)" . ;;
  esac
  case ${ONLY:-notebook} in
    notebook) build_with_pip -f exporter/Dockerfile --target notebook -t "docker.io/$(image_of notebook)" . ;;
  esac
}

start_service() {
  [ -S "$home/engine.sock" ] && curl_ok && return
  rm -f "$home/engine.sock"
  setsid "$home/engine" system service --time=0 "unix://$home/engine.sock" </dev/null >"$home/service.log" 2>&1 &
  echo $! >"$home/service.pid"
  setsid tests/compose/engine.sh health </dev/null >/dev/null 2>&1 &
  echo $! >"$home/health.pid"
  for _ in $(seq 50); do
    curl_ok && return
    sleep 0.1
  done
  tail "$home/service.log" >&2
  stop "podman's service does not answer"
}

# Podman leaves health checks to systemd's timers; here is neither, and what depends on a healthy service would wait for ever.
check_health() {
  local container
  while sleep 2; do
    for container in $(engine ps --quiet); do engine healthcheck run "$container" || true; done
  done
}

curl_ok() { DOCKER_HOST=unix://$home/engine.sock "$home/docker-compose" ls >/dev/null 2>&1; }

case ${1:-} in
  up)
    [ "$(id -u)" = 0 ] || stop "needs root; or install Docker, then it is not needed"
    command -v apt-get >/dev/null || stop "needs Debian or Ubuntu; or install Docker, then it is not needed"
    install_podman
    write_configuration
    fetch_compose
    make_stand_ins
    build_ours
    start_service
    echo "DOCKER_HOST=unix://$home/engine.sock"
    echo "COMPOSE=$home/docker-compose"
    echo "ENGINE=$home/engine"
    ;;
  down)
    for pid in "$home/service.pid" "$home/health.pid"; do
      if [ -f "$pid" ]; then kill "$(cat "$pid")" 2>/dev/null || true; fi
      rm -f "$pid"
    done
    rm -f "$home/engine.sock"
    ;;
  compose)
    command -v apt-get >/dev/null || stop "needs Debian or Ubuntu; or install Docker's compose plugin"
    fetch_compose
    echo "$home/docker-compose"
    ;;
  health) check_health ;;
  *) stop "up, down or compose?" ;;
esac
