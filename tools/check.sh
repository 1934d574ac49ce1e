#!/bin/sh
# `make check`: format, layers, sizes, clang-tidy, then each fuzzer for $1 seconds. TIDY=all looks at every file,
# otherwise at those changed since the merge base with origin/main (on main itself: by the last commit).
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-30}
sources=$(git ls-files 'src/*.cc' 'src/*.h' 'bench/*.cc' 'tests/*.cc')

echo "check: format"
# shellcheck disable=SC2086
clang-format-16 --dry-run -Werror $sources
echo "check: layers and sizes"
python3 tools/check_layers.py
python3 tools/check_sizes.py
for script in tools/*.sh; do sh -n "$script"; done
bash -n .ci/run

echo "check: clang build"
cmake --preset fuzz >build/fuzz-configure.log || { cat build/fuzz-configure.log; exit 1; }
cmake --build build/fuzz

base=$(git merge-base HEAD origin/main 2>/dev/null || true)
[ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse -q --verify HEAD~1 || true)
# A clone without its history tells of no change: then it is everything.
if [ "${TIDY:-}" = all ] || [ -z "$base" ]; then changed=$sources; else changed=$(git diff --name-only --diff-filter=d "$base"); fi
# A header is looked at from the .cc of its name, else from the first that includes it, perhaps by another header.
from_cc() {
  case $1 in
    *.cc) echo "$1" ;;
    *.h)
      if [ -f "${1%.h}.cc" ]; then echo "${1%.h}.cc"; return; fi
      include="#include \"${1#src/}\""
      set -- "$({ git grep -lF "$include" -- '*.cc' '*.h' ':!*_test.cc' | sort -t. -k2; git grep -lF "$include" -- '*_test.cc'; } | head -n 1)"
      [ -z "$1" ] || from_cc "$1" ;;
  esac
}
changed=$(printf '%s\n' "$changed" | grep -E '^(src|bench|tests)/' | while read -r file; do from_cc "$file"; done | sort -u)
echo "check: clang-tidy on $(printf '%s' "$changed" | grep -c . || true) files"
# Speed is nothing to tests. The analyzer knows no coroutines: it takes minutes over http, and errs within Asio.
# shellcheck disable=SC2016
printf '%s\n' "$changed" | grep . | xargs -r -n 1 -P 2 sh -c '
  case $1 in
    *_test.cc | tests/*) but="-performance-*,-clang-analyzer-*,-bugprone-suspicious-memory-comparison,-bugprone-suspicious-missing-comma,-bugprone-string-constructor" ;;
    src/http/*) but="-clang-analyzer-*" ;;
    *) but="" ;;
  esac
  clang-tidy-16 -p build/fuzz --quiet --warnings-as-errors="*" --checks="$but" "$1"' tidy 2>build/tidy.log ||
  { grep -v 'warnings generated' build/tidy.log; exit 1; }

run_fuzzer() {
  name=$(basename "$1")
  mkdir -p "build/corpus/$name"
  "$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=build/ \
    "build/corpus/$name" >"build/$name.log" 2>&1 || { tail -n 40 "build/$name.log"; echo "check: $name FAILED"; return 1; }
  echo "check: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/$name.log") inputs in $seconds s"
}
# Two at a time.
pending="" failed=0
for fuzzer in $(find build/fuzz/src -maxdepth 1 -name '*_fuzz' -type f | sort); do
  run_fuzzer "$fuzzer" & pending="$pending $!"
  # shellcheck disable=SC2086
  set -- $pending
  if [ $# -ge 2 ]; then wait "$1" || failed=1; shift; pending="$*"; fi
done
for job in $pending; do wait "$job" || failed=1; done
[ $failed = 0 ] && echo "check: passed"
exit $failed
