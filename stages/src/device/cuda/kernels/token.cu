// Kernels that work on tokens one by one: the step's start, RMSNorm, q/k norm with rotation and cache write,
// gated SiLU, argmax.

// Where the pieces of a step's description go: `count[i]` words from `from[i]` of the staging area to `to[i]` of
// the area that all kernels of the step read.
struct Pieces {
    int from[8], to[8], count[8];
};

// Starts a step. Blocks below `rows` fetch one row of the embedding; an id below zero stands for the token that
// the step before made at place -1 - id. The other blocks move the step's description into place.
// grid (rows + 8 * movers), 128 threads.
extern "C" __global__ void __launch_bounds__(128) begin_step(bf16* __restrict__ residual, const bf16* __restrict__ embedding,
                                                             const int* __restrict__ staged, int* __restrict__ step,
                                                             const u32* __restrict__ made, int rows, Pieces pieces) {
    const int block = blockIdx.x;
    if (block < rows) {
        const int id = staged[pieces.from[0] + block];
        const u32 token = id >= 0 ? (u32)id : made[-1 - id];
        const uint4* from = (const uint4*)(embedding + (size_t)token * HIDDEN);
        uint4* to = (uint4*)(residual + (size_t)block * HIDDEN);
        for (int i = threadIdx.x; i < HIDDEN / 8; i += 128) to[i] = from[i];
        return;
    }
    // Eight blocks, a piece each, side by side: every read crosses the bus and takes a microsecond.
    const int mover = block - rows, p = mover % 8, movers = (gridDim.x - rows) / 8;
    for (int i = mover / 8 * 128 + threadIdx.x; i < pieces.count[p]; i += movers * 128)
        step[pieces.to[p] + i] = staged[pieces.from[p] + i];
}

// out[i] = RMSNorm(in[picked[i]]) * weight; without `picked`, of row i. grid (rows), 128 threads.
extern "C" __global__ void __launch_bounds__(128) rms_norm(bf16* out, const bf16* in,
                                                           const bf16* __restrict__ weight, const int* __restrict__ picked) {
    constexpr int PASSES = (HIDDEN / 8 + 127) / 128;
    __shared__ float partial[4];
    release_successor();
    await_predecessor();
    const int row = picked ? picked[blockIdx.x] : blockIdx.x;
    const uint4* from = (const uint4*)(in + (size_t)row * HIDDEN);
    float x[PASSES][8];
    float squares = 0.f;
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        const int i = p * 128 + threadIdx.x;
        if (i < HIDDEN / 8) {
            unpack(from[i], x[p]);
#pragma unroll
            for (int k = 0; k < 8; k++) squares += x[p][k] * x[p][k];
        }
    }
    squares = warp_sum(squares);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = squares;
    __syncthreads();
    const float inverse = rsqrtf((partial[0] + partial[1] + partial[2] + partial[3]) * (1.f / HIDDEN) + NORM_EPS);
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        const int i = p * 128 + threadIdx.x;
        if (i < HIDDEN / 8) {
            float w[8];
            unpack(((const uint4*)weight)[i], w);
#pragma unroll
            for (int k = 0; k < 8; k++) x[p][k] *= inverse * w[k];
            ((uint4*)(out + (size_t)blockIdx.x * HIDDEN))[i] = pack8(x[p]);
        }
    }
}

// Norm and rotation of q (in place) and of k (to the pool), v to the pool. A block takes a row, a warp some heads.
// slots: tile * 16 + place, below zero for a row that is only padding. grid (rows), 256 threads.
extern "C" __global__ void __launch_bounds__(256) rotate_and_cache(bf16* qkv, bf16* pool, const bf16* __restrict__ q_weight,
                                                                   const bf16* __restrict__ k_weight, const float2* __restrict__ angles,
                                                                   const int* __restrict__ positions, const int* __restrict__ slots) {
    constexpr int ALL = HEADS + 2 * KV_HEADS, WARPS = 8, EACH = (ALL + WARPS - 1) / WARPS;
    release_successor();
    const int row = blockIdx.x, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int slot = slots[row];
    const Raw weights[2] = {load_weight(q_weight, lane), load_weight(k_weight, lane)};
    float2 mine[PER_LANE];
    load_angles(angles, positions[row], lane, mine);
    await_predecessor();
    if (slot < 0) return;
    Raw raw[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (warp + i * WARPS < ALL) raw[i] = load_raw(qkv + (size_t)row * QKV + (warp + i * WARPS) * HEAD_DIM, lane);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int head = warp + i * WARPS;
        if (head >= ALL) continue;
        float x[2][PER_LANE];
        expand(raw[i], x);
        const bool is_value = head >= HEADS + KV_HEADS;
        if (!is_value) norm_and_rotate(x, head < HEADS ? weights[0] : weights[1], mine);
        bf16* to = qkv + (size_t)row * QKV + head * HEAD_DIM;
        if (head >= HEADS) {
            const int kv_head = (head - HEADS) % KV_HEADS;
            to = pool + (((size_t)(slot / TILE) * KV_HEADS + kv_head) * 2 + is_value) * (TILE * HEAD_DIM) + (slot % TILE) * HEAD_DIM;
        }
        store_head(to, lane, x);
    }
}

// out[row] = silu(in[row][0 .. FFN]) * in[row][FFN ..]. Eight numbers a thread.
extern "C" __global__ void __launch_bounds__(256) silu_multiply(bf16* out, const bf16* in, int rows) {
    release_successor();
    await_predecessor();
    constexpr int PER_ROW = FFN / 8;
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= rows * PER_ROW) return;
    const int row = i / PER_ROW, column = i % PER_ROW;
    const uint4* from = (const uint4*)(in + (size_t)row * 2 * FFN);
    float gate[8], up[8];
    unpack(from[column], gate);
    unpack(from[PER_ROW + column], up);
#pragma unroll
    for (int k = 0; k < 8; k++) gate[k] = silu(gate[k]) * up[k];
    ((uint4*)(out + (size_t)row * FFN))[column] = pack8(gate);
}

// A number's order as an unsigned one, and with it the smaller index first among equals.
__device__ __forceinline__ u64 ranked(float v, int index) {
    const u32 bits = __float_as_uint(v);
    const u32 order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ((u64)order << 32) | (u32)~index;
}

// made[row] = index of the greatest of logits[row][0 .. vocab]; the smallest index among equals. `best` and `arrived`
// are zero before and after. grid (parts, rows), 256 threads.
extern "C" __global__ void __launch_bounds__(256) greatest(u32* made, const float* logits, u64* best, u32* arrived, int vocab) {
    __shared__ u64 partial[8];
    release_successor();
    await_predecessor();
    const float4* from = (const float4*)(logits + (size_t)blockIdx.y * vocab);
    const int quads = vocab / 4, parts = gridDim.x, step = parts * 256;
    float top = LOWEST;
    int at = 0;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < quads; i += 4 * step) {
        float4 v[4];
#pragma unroll
        for (int k = 0; k < 4; k++) v[k] = i + k * step < quads ? from[i + k * step] : make_float4(LOWEST, LOWEST, LOWEST, LOWEST);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float f[4] = {v[k].x, v[k].y, v[k].z, v[k].w};
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (f[e] > top) top = f[e], at = (i + k * step) * 4 + e;
        }
    }
    u64 mine = ranked(top, at);
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
        const u64 other = __shfl_xor_sync(~0u, mine, o);
        mine = other > mine ? other : mine;
    }
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < 8; i++) mine = partial[i] > mine ? partial[i] : mine;
        atomicMax(best + blockIdx.y, mine);
        __threadfence();
        if (atomicAdd(arrived + blockIdx.y, 1u) == parts - 1) {
            made[blockIdx.y] = ~(u32)atomicExch(best + blockIdx.y, 0ull);
            arrived[blockIdx.y] = 0;
        }
    }
}
