#!/usr/bin/env bash
# A seeded torch.randn on the CPU gives other bits on a CPU without AVX2.
#
# One would guess: torch draws on the CPU from one Mersenne Twister, so that one wheel of torch and one seed give the
#   same numbers on every x86-64 CPU. torch.rand and torch.randint do; so does torch.randn of double, or of fewer than
#   16 numbers. The reproducibility note promises nothing across releases and "platforms", but names no CPU feature.
# What happens: a contiguous float32 tensor of 16 numbers or more is filled by Box-Muller in blocks of 16, with
#   logarithm, sine and cosine of an AVX2 approximation where the CPU has AVX2, and of the C library where it has not.
#   Two in five of the numbers differ, more than half of these by one or two last places. A hash over weights that a
#   test draws from a seed (nn.init.normal_ and trunc_normal_ draw so too) is therefore another one on such a machine,
#   or under ATEN_CPU_CAPABILITY=default, with which this script plays it. torch.use_deterministic_algorithms changes
#   nothing.
# Versions: torch 2.15.0, CPython 3.11, Linux x86-64 with AVX2 (the installation takes about 6 GB).
# Source: NormalFill16 and normal_kernel in aten/src/ATen/native/cpu/DistributionTemplates.h (in the wheel below
#   torch/include); https://docs.pytorch.org/docs/stable/notes/randomness.html; the open request to promise CPU draws,
#   https://github.com/pytorch/pytorch/issues/94454.
# Output seen:
#   DEFAULT: randn(1000) 13e045881b73, trunc_normal_(1000) 99f5fa0de9fe, randn(15) feb39d97c8af, randn(1000, double) e9aadb4005f4, rand(1000) 20221bec9830, randint(256, 1000) a7972adf59b4
#   AVX2: randn(1000) 43678415636b, trunc_normal_(1000) bc1178fdf0ac, randn(15) feb39d97c8af, randn(1000, double) e9aadb4005f4, rand(1000) 20221bec9830, randint(256, 1000) a7972adf59b4
#   differ: randn(1000), trunc_normal_(1000)
#   randn(1000): 387 numbers differ, by 614 last places at most
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.15.0 numpy==2.4.6
cd "$dir"
cat > draw.py <<'PY'
import hashlib
import sys

import numpy as np
import torch

torch.use_deterministic_algorithms(True)


def drawn(draw):
    return draw(torch.Generator().manual_seed(0)).numpy()


def trunc_normal(generator):
    return torch.nn.init.trunc_normal_(torch.empty(1000), generator=generator)


draws = {
    "randn(1000)": drawn(lambda g: torch.randn(1000, generator=g)),
    "trunc_normal_(1000)": drawn(trunc_normal),
    "randn(15)": drawn(lambda g: torch.randn(15, generator=g)),
    "randn(1000, double)": drawn(lambda g: torch.randn(1000, generator=g, dtype=torch.float64)),
    "rand(1000)": drawn(lambda g: torch.rand(1000, generator=g)),
    "randint(256, 1000)": drawn(lambda g: torch.randint(256, (1000,), generator=g)),
}
np.savez(sys.argv[1], **draws)
told = ", ".join(f"{name} {hashlib.sha256(values.tobytes()).hexdigest()[:12]}" for name, values in draws.items())
print(f"{torch.backends.cpu.get_cpu_capability()}: {told}")
PY
for capability in default avx2; do
  ATEN_CPU_CAPABILITY=$capability "$dir/venv/bin/python" draw.py "$capability.npz"
done
"$dir/venv/bin/python" - <<'PY'
import sys

import numpy as np

one, other = np.load("default.npz"), np.load("avx2.npz")
differ = [name for name in one.files if not np.array_equal(one[name], other[name])]
print("differ:", ", ".join(differ) or "none")
if "randn(1000)" in differ:
    a, b = one["randn(1000)"], other["randn(1000)"]
    apart = np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32))
    print(f"randn(1000): {int((apart > 0).sum())} numbers differ, by {int(apart.max())} last places at most")
if "randn(1000)" not in differ or {"rand(1000)", "randint(256, 1000)", "randn(1000, double)", "randn(15)"} & set(differ):
    sys.exit("No longer so (or this CPU has no AVX2): torch.randn gives the same bits, or others differ too.")
PY
