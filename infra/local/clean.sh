#!/usr/bin/env bash
# Remove the local stack's data and the folders given, unless the stack runs.
set -euo pipefail

is_free='import fcntl; fcntl.flock(open(".local/lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
if [ -e .local/lock ] && ! "${PYTHON:-python3}" -c "$is_free" 2>/dev/null; then
  echo "not removed: a stack runs here; stop it with Ctrl-C in its terminal" >&2
  exit 1
fi

# Root's data lie elsewhere where the checkout is in a closed folder.
data=$(readlink .local/postgres 2>/dev/null || true)
case $data in
  /var/lib/tradesmart-*/postgres) set -- "$@" "${data%/postgres}" ;;
esac
rm -rf .local "$@" || {
  echo "not all was removed: what is left belongs to another account; use sudo" >&2
  exit 1
}
echo "removed .local $*"
