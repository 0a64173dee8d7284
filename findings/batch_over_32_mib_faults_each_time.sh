#!/usr/bin/env bash
# A batch of 56 pictures of 224 px as float32 is paid for anew each time; one of 55 is not.
#
# One would guess: glibc's threshold for separate mappings adapts to what a program frees, so a buffer
#   that is made and dropped over and over is taken from memory that the process has already, whatever
#   its size: the cost of a picture does not depend on how many share the batch.
# What happens: the threshold stops adapting at 32 MiB. 55 pictures (31.6 MiB) are made without one page
#   fault after the first rounds; 56 (32.2 MiB) are mapped, cleared by the kernel and unmapped in every
#   round: 8233 faults of 4 KiB, where NumPy asks for huge pages about 570 of both sizes. It took two to
#   four times the CPU time per picture where this was found; the check counts faults, which do not vary.
#   With MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=1000000000 in the environment there is none. In
#   long-running inference on the CPU torch's activations beyond 32 MiB pay the same.
# Versions: glibc 2.36, numpy 2.4.6, CPython 3.11, Linux x86-64.
# Source: DEFAULT_MMAP_THRESHOLD_MAX in mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html;
#   NUMPY_MADVISE_HUGEPAGE in https://numpy.org/doc/stable/reference/global_state.html.
# Output seen:
#   55 pictures, 31.6 MiB: 0 page faults a batch
#   56 pictures, 32.2 MiB: 8233 page faults a batch
#   56 pictures, 32.2 MiB: 0 page faults a batch (freed memory is kept)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.4.6
cat > "$dir/batch.py" <<'PY'
import resource
import sys

import numpy as np

ROUNDS = 20
count = int(sys.argv[1])
pictures = np.zeros((count, 3, 224, 224), np.uint8)


def normalised():
    batch = pictures.astype(np.float32)
    batch -= np.float32(0.5)
    return batch


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    normalised()
before = faults()
for _ in range(ROUNDS):
    normalised()
print(round((faults() - before) / ROUNDS))
PY
export NUMPY_MADVISE_HUGEPAGE=0
unset MALLOC_MMAP_MAX_ MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_ GLIBC_TUNABLES
small=$("$dir/venv/bin/python" "$dir/batch.py" 55)
large=$("$dir/venv/bin/python" "$dir/batch.py" 56)
kept=$(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1000000000 "$dir/venv/bin/python" "$dir/batch.py" 56)
echo "55 pictures, 31.6 MiB: $small page faults a batch"
echo "56 pictures, 32.2 MiB: $large page faults a batch"
echo "56 pictures, 32.2 MiB: $kept page faults a batch (freed memory is kept)"
if [ "$small" -gt 100 ] || [ "$large" -lt 8000 ] || [ "$kept" -gt 100 ]; then
  echo "No longer so: batches below and above 32 MiB fault alike, or kept memory faults too." >&2
  exit 1
fi
