#!/usr/bin/env bash
# Execute the recipes of docs/recipes.md with the libraries that are too large for every test:
# each is installed in an environment of its own, which is removed afterwards.
# recipes.sh PYTHON_OF_THE_TESTS UV [RECIPE ...]
set -euo pipefail
cd "$(dirname "$0")/../.."

library() { # library RECIPE
  case $1 in
    vectorbt) echo vectorbt==1.2.0 ;;
    NautilusTrader) echo nautilus-trader==1.221.0 ;;
    zipline) echo zipline-reloaded==3.2.1 ;;
    freqtrade) echo freqtrade==2026.9 ;;
    qlib) echo pyqlib==0.9.7 ;;
    *) echo "there is no recipe '$1' with a library of its own" >&2; exit 1 ;;
  esac
}
python=$1 uv=$2
shift 2
[ $# -gt 0 ] || set -- vectorbt NautilusTrader zipline freqtrade qlib

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
drivers=$(grep -oE '^adbc-[a-z-]+==[0-9.]+' reader/requirements.txt)
tools=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for recipe in "$@"; do
  wanted=$(library "$recipe")
  echo "$recipe: installing $wanted"
  "$python" -m venv --without-pip "$folder/env"
  # shellcheck disable=SC2086 # a list
  "$uv" pip install --quiet --python "$folder/env/bin/python" "$wanted" pyarrow $drivers
  # What the tests themselves need comes after what the library needs.
  for site in "$folder"/env/lib/python*/site-packages; do echo "$tools" > "$site/pipeline.pth"; done
  "$folder/env/bin/python" -m pytest -q tests/reader/test_docs.py tests/reader/test_qlib.py \
    -k "$recipe and (recipe or loads_it)"
  rm -rf "$folder/env"
done
