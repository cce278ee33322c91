#!/usr/bin/env bash
# Fuzz the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer. Needs g++ with its sanitizer runtime.
#   bash tests/sanitize.sh                    what CI runs: under a minute
#   bash tests/sanitize.sh 1000000 1000000    the full run: C++ inputs, Python calls
set -euo pipefail
cd "$(dirname "$0")/.."
cpp_inputs="${1:-150000}" python_calls="${2:-15000}" seed="${3:-1}"
python="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}"
flags=(-std=c++17 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-psabi)
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export ASAN_OPTIONS=abort_on_error=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1

core=(csrc/kernels*.cpp csrc/simd_level.cpp csrc/camera_model.cpp csrc/crop.cpp)
echo "C++ core, every SIMD level"
g++ "${flags[@]}" -w -Icsrc tests/fuzz_core.cpp "${core[@]}" -o "$work/fuzz"
"$work/fuzz" "$cpp_inputs" "$seed"
echo "C++ core as a compiler without vector types sees it"
g++ "${flags[@]}" -w -DRT_HANDS_SCALAR -Icsrc tests/fuzz_core.cpp "${core[@]}" -o "$work/fuzz_scalar"
"$work/fuzz_scalar" "$((cpp_inputs / 3))" "$seed"

echo "Python bindings"
read -r include_pybind include_python suffix < <("$python" -c "import pybind11, sysconfig as s
print(pybind11.get_include(), s.get_path('include'), s.get_config_var('EXT_SUFFIX'))")
mkdir "$work/rt_hands"
touch "$work/rt_hands/__init__.py"
g++ "${flags[@]}" -w -shared -fPIC -fvisibility=hidden -Icsrc -I"$include_pybind" -I"$include_python" csrc/*.cpp \
  -o "$work/rt_hands/_core$suffix"
# Python itself is not built with ASan, so its runtime is loaded first; leaks of the interpreter are not ours.
LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" PYTHONPATH="$work" \
  ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" OMP_NUM_THREADS=1 "$python" tests/fuzz_core.py "$python_calls" "$seed"
