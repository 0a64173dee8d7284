#!/usr/bin/env bash
# On a CPU that multiplies bf16, torch's fused attention is slower than the three operations it replaces.
#
# One would guess: scaled_dot_product_attention is at least as fast as softmax(q kᵀ) v written out, and faster in bf16
#   than in float32, as every matrix product is on a CPU with AVX-512 BF16.
# What happens: in float32 it is the faster of the two. In bf16 it takes about as long as in float32, while the products
#   written out take half of that: a ViT in bf16 on such a CPU is faster without the fused kernel.
# Versions: torch 2.15.0 (cu132 wheel, CPU), CPython 3.11, Linux x86-64, a CPU with avx512_bf16.
# Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html names no such
#   exception; the kernel is aten/src/ATen/native/cpu/FlashAttentionKernel.cpp of pytorch/pytorch.
# Output seen:
#   torch.float32   fused  6.59 ms, products written out  9.11 ms: 0.7 times
#   torch.bfloat16  fused  7.10 ms, products written out  3.32 ms: 2.1 times
set -euo pipefail
if ! grep -qm1 avx512_bf16 /proc/cpuinfo; then
  echo "This CPU does not multiply bf16 (no avx512_bf16): nothing to show here." >&2
  exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check torch==2.15.0 numpy==2.4.6
cat > "$dir/attention.py" <<'PY'
import sys
import time

import torch
from torch.nn import functional as F

torch.set_num_threads(1)


def written_out(q, k, v):
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return torch.softmax(scores, dim=-1) @ v


def fastest_ms(attend, *inputs):
    took = []
    for _ in range(15):
        begun = time.process_time()
        attend(*inputs)
        took.append(time.process_time() - begun)
    return 1e3 * min(took)


ratios = {}
with torch.inference_mode():
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [torch.randn(8, 197, 6, 64).to(dtype).transpose(1, 2) for _ in range(3)]  # 8 pictures of a ViT-S/16
        torch.testing.assert_close(
            written_out(*inputs), F.scaled_dot_product_attention(*inputs), atol=2e-2, rtol=2e-2
        )
        fused, products = fastest_ms(F.scaled_dot_product_attention, *inputs), fastest_ms(written_out, *inputs)
        ratios[dtype] = fused / products
        print(f"{str(dtype):15s} fused {fused:5.2f} ms, products written out {products:5.2f} ms: {fused / products:.1f} times")
sys.exit(0 if ratios[torch.bfloat16] > 1.3 > ratios[torch.float32] else 1)
PY
if ! "$dir/venv/bin/python" "$dir/attention.py"; then
  echo "No longer so: fused attention in bf16 is about as fast as its operations, or slower in float32 too." >&2
  exit 1
fi
