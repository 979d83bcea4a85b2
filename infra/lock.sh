#!/usr/bin/env bash
# Lock all requirements with the hashes of their files, for every Python that is supported.
# lock.sh UV [NAME ...]: only those locks
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
shift
wanted=" $* "
oldest=$(sed -n 's/^requires-python = ">=\(.*\)"$/\1/p' pyproject.toml)
deployed=$(sed -n 's/^python: "\(.*\)"$/\1/p' infra/pipeline.yaml)

is_wanted() { # is_wanted NAME
  [[ $wanted == "  " || $wanted == *" $1 "* ]]
}

lock() { # lock NAME REQUIREMENTS [NAME OF A LOCK TO AGREE WITH ...]
  local name=$1 requirements=$2 other agreeing=()
  is_wanted "$name" || return 0
  for other in "${@:3}"; do agreeing+=(--constraints "locks/$other.txt"); done
  echo "locks/$name.txt"
  # shellcheck disable=SC2086 # options are words
  "$uv" pip compile --quiet --universal --python-version "$oldest" --generate-hashes \
    --no-header ${options:-} "${agreeing[@]}" "$requirements" -o "locks/$name.txt"
}

# What is deployed has to be there as wheels for the Python that it is deployed with.
try() { # try NAME
  is_wanted "$1" || return 0
  "$uv" pip install --quiet --dry-run --require-hashes --only-binary :all: \
    --python-version "$deployed" --python-platform linux --target /nonexistent \
    -r "locks/$1.txt"
}

lock functions requirements.txt
lock job requirements-job.txt
lock local requirements-local.txt
lock dev requirements-dev.txt
lock reader reader/requirements.txt local
lock reader-dev tests/reader/requirements.txt dev reader
lock export locks/export.in functions reader
options=--no-deps lock pandas-2 locks/pandas-2.in
options=--no-deps lock pyarrow-older locks/pyarrow-older.in
lock postgres locks/postgres.in local
lock checkov locks/checkov.in
lock uv locks/uv.in

try functions
try job
try export
