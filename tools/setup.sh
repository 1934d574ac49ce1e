#!/bin/sh
# Installs what is missing, and only that: `tools/setup.sh build python:tests ...`
#   GROUP        the Debian packages of that group in packaging/debian-packages.txt
#   python:NAME  requirements/NAME.txt into .venv, then NAME.nodeps.txt without dependencies, and folders of the sources
#                of the packages in NAME.sources.txt into .venv/share
#   apt-lists    the package index, whose descriptions the demo reads: an image may have thrown it away
#   own:NAME     requirements/NAME.txt, which names everything, into .venv-NAME
# As root it installs, as a user it uses sudo; without either it prints the one line to run and exits 2.
set -eu
cd "$(dirname "$0")/.."

missing_packages() {
  wanted=$(for group in "$@"; do sed -n "s/^$group //p" packaging/debian-packages.txt; done | sort -u)
  # shellcheck disable=SC2086
  dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null | sed -n 's/ installed$//p' | sort -u > build/.have
  printf '%s\n' "$wanted" | comm -23 - build/.have
  rm -f build/.have
}

# as_root COMMANDS: sets $as, or prints what root is to run and ends.
as_root() {
  if [ "$(id -u)" = 0 ]; then as=""
  elif command -v sudo >/dev/null; then as="sudo"
  else
    echo "textmill needs Debian packages that only root can install. Run once, as root:" >&2
    echo "  $1" >&2
    exit 2
  fi
}

update_lists() {
  [ -z "$(apt-cache dumpavail 2>/dev/null | head -c 1)" ] || return 0
  as_root "apt-get update"
  echo "setup: fetching the package index" >&2
  $as apt-get update -qq >&2
}

install_packages() {
  packages=$(missing_packages "$@" | tr '\n' ' ')
  [ -n "${packages% }" ] || return 0
  install="apt-get install -y --no-install-recommends $packages"
  as_root "apt-get update && $install"
  echo "setup: installing $packages" >&2
  $as apt-get update -qq >&2
  $as env DEBIAN_FRONTEND=noninteractive $install >&2
}

# A folder of a package's source distribution, such as a test suite that no wheel carries.
unpack_source() {
  downloaded=$(mktemp -d)
  before=$(printf %s "$2" | tr -cd / | wc -c)
  mkdir -p .venv/share
  if .venv/bin/python -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: -d "$downloaded" "$1" >&2 &&
    tar xzf "$downloaded"/*.tar.gz -C .venv/share --strip-components=$((before + 1)) --wildcards "*/$2/*"; then
    echo "setup: .venv/share/${2##*/} of $1" >&2
  else
    echo "setup: the source of $1 could not be had; the tests that want it are skipped" >&2
  fi
  rm -rf "$downloaded"
}

# Installed means: .venv holds a stamp with the checksum of the requirements.
install_python() {
  requirements=requirements/$1.txt nodeps=requirements/$1.nodeps.txt sources=requirements/$1.sources.txt
  stamp=.venv/.installed-$1-$(cat "$requirements" "$nodeps" "$sources" 2>/dev/null | sha256sum | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  [ -x .venv/bin/python ] || python3 -m venv .venv
  pip=".venv/bin/python -m pip install -q --disable-pip-version-check"
  echo "setup: installing the Python packages of $requirements" >&2
  # torch first and exactly, so that pip takes a CPU wheel where one is offered.
  torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$requirements")
  [ -z "$torch" ] || $pip "$torch" >&2
  $pip -r "$requirements" >&2
  [ ! -e "$nodeps" ] || $pip --no-deps -r "$nodeps" >&2
  [ ! -e "$sources" ] || while read -r package folder; do unpack_source "$package" "$folder"; done < "$sources"
  : > "$stamp"
}

install_own() {
  requirements=requirements/$1.txt venv=.venv-$1
  stamp=$venv/.installed-$(sha256sum < "$requirements" | cut -c1-16)
  [ ! -e "$stamp" ] || return 0
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  echo "setup: installing the Python packages of $requirements" >&2
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -r "$requirements" >&2
  : > "$stamp"
}

mkdir -p build
groups=""
for argument in "$@"; do
  case $argument in apt-lists) ;; python:* | own:*) groups="$groups python" ;; *) groups="$groups $argument" ;; esac
done
# shellcheck disable=SC2086
install_packages $groups
for argument in "$@"; do
  case $argument in apt-lists) update_lists ;; python:*) install_python "${argument#python:}" ;; own:*) install_own "${argument#own:}" ;; esac
done
