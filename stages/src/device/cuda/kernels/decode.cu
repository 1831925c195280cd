// Attention of one new token for each of many sequences over the paged pool.
//
// All tiles of all sequences are laid end to end and cut into equal shares, one for each pair of a warp and a KV
// head, so the card is evenly loaded whatever the contexts are. A warp streams its share through its own ring in
// shared memory and never waits for another warp. Where a share ends inside a sequence, the warp leaves its partial
// result and the last to arrive adds the parts.
//
// The new token's q and k are normalised and rotated here; the warp that has the sequence's last tile writes its k
// and v to the pool.

constexpr int DECODE_WARPS = 4;
#ifndef DECODE_STAGES
#define DECODE_STAGES 3
#endif
#ifndef DECODE_LEAST_SHARE
#define DECODE_LEAST_SHARE 2
#endif
constexpr int RING_BYTES = DECODE_STAGES * 2 * TILE_BYTES;
constexpr int KV_STEPS = HEAD_DIM / 16;   // slices of a head that one multiplication takes
constexpr int OUT_TILES = HEAD_DIM / 8;   // columns of the output in eights
static_assert(GROUP <= 8, "query heads are the first eight rows of a multiplication");

struct Partial {
    float* sums;      // [warps][2][GROUP][HEAD_DIM]
    float2* maxima;   // [warps][2][GROUP]: greatest score in powers of two, sum of weights
    u32* arrived;     // [sequences][KV_HEADS], zero before and after
};

// Adds the parts of a sequence that workers `first` to `last` of this KV head left.
__device__ __forceinline__ void add_parts(bf16* out, const Partial& partial, int first, int last, int kv_head, int lane) {
    constexpr int WIDTH = HEAD_DIM / 32;  // numbers of a lane
#pragma unroll 1
    for (int g = 0; g < GROUP; g++) {
        float top = LOWEST;
        for (int p = first + lane; p <= last; p += 32) top = fmaxf(top, fresh2(partial.maxima + ((p * KV_HEADS + kv_head) * 2 + (p == first)) * GROUP + g).x);
        top = warp_max(top);
        float total = 0.f, sum[WIDTH] = {};
        for (int base = first; base <= last; base += 32) {
            float weight = 0.f;
            if (base + lane <= last) {
                const int p = base + lane;
                const float2 m = fresh2(partial.maxima + ((p * KV_HEADS + kv_head) * 2 + (p == first)) * GROUP + g);
                weight = power_of_two(m.x - top);
                total += weight * m.y;
            }
            const int n = min(32, last - base + 1);
#pragma unroll 4
            for (int i = 0; i < n; i++) {
                const int p = base + i;
                const float w = __shfl_sync(~0u, weight, i);
                const float* from = partial.sums + ((size_t)((p * KV_HEADS + kv_head) * 2 + (p == first)) * GROUP + g) * HEAD_DIM + lane * WIDTH;
                if constexpr (WIDTH == 4) {
                    const float4 v = fresh4((const float4*)from);
                    sum[0] += w * v.x, sum[1] += w * v.y, sum[WIDTH - 2] += w * v.z, sum[WIDTH - 1] += w * v.w;
                } else {
                    const float2 v = fresh2((const float2*)from);
                    sum[0] += w * v.x, sum[1] += w * v.y;
                }
            }
        }
        const float inverse = 1.f / warp_sum(total);
        u32* to = (u32*)(out + g * HEAD_DIM + lane * WIDTH);
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++) to[i] = pack(sum[2 * i] * inverse, sum[2 * i + 1] * inverse);
    }
}

// out: [rows][HEADS * HEAD_DIM]; qkv: [rows][QKV] as the projection made it; row i belongs to sequence i.
// contexts: tokens of each sequence, the new one included, 0 for padding. tile_starts: [sequences + 1], where each
// sequence's tiles begin in `tiles`. Shared memory: DECODE_WARPS * (RING_BYTES + GROUP * ROW_BYTES).
extern "C" __global__ void __launch_bounds__(DECODE_WARPS * 32, 3)
    attend_decode(bf16* out, const bf16* qkv, bf16* pool, const bf16* __restrict__ q_weight,
                  const bf16* __restrict__ k_weight, const float2* __restrict__ angles, const int* __restrict__ contexts,
                  const int* __restrict__ tile_starts, const int* __restrict__ tiles, int sequences, float scale, Partial partial) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    unsigned char* ring = shared + warp * RING_BYTES;
    bf16* queries = (bf16*)(shared + DECODE_WARPS * RING_BYTES + warp * GROUP * ROW_BYTES);
    const u32 ring_address = shared_address(ring);
    release_successor();

    const int id = blockIdx.x * DECODE_WARPS + warp, kv_head = id % KV_HEADS, worker = id / KV_HEADS;
    const int workers = gridDim.x * DECODE_WARPS / KV_HEADS;
    const int total = tile_starts[sequences];
    const int share = max((total + workers - 1) / workers, DECODE_LEAST_SHARE);
    const int begin = worker * share, end = min(total, begin + share);
    if (worker >= workers || begin >= end) return;

    // Tiles of this share, 32 known ahead of the fetching.
    int known = begin + lane < end ? tiles[begin + lane] : 0, upcoming = 0;
    auto fetch = [&](int k) {  // k-th tile of the share
        if (begin + k < end) {
            if ((k & 31) == 0) {
                if (k > 0) known = upcoming;
                upcoming = begin + k + 32 + lane < end ? tiles[begin + k + 32 + lane] : 0;
            }
            const int tile = __shfl_sync(~0u, known, k & 31);
            const unsigned char* from = (const unsigned char*)pool + ((size_t)tile * KV_HEADS + kv_head) * 2 * TILE_BYTES;
            const u32 to = ring_address + (k % DECODE_STAGES) * 2 * TILE_BYTES;
#pragma unroll
            for (int i = 0; i < 2 * TILE_BYTES / 512; i++) {
                const int piece = i * 32 + lane, row = piece / CHUNKS, chunk = piece % CHUNKS;
                copy16(to + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4), from + piece * 16);
            }
        }
        copies_commit();
    };
    // The pool's older tokens do not come from the predecessor.
#pragma unroll
    for (int k = 0; k < DECODE_STAGES - 1; k++) fetch(k);

    int sequence = 0;
    for (int base = 0; base < sequences; base += 32)
        sequence += __popc(__ballot_sync(~0u, base + lane < sequences && tile_starts[base + lane + 1] <= begin));

    await_predecessor();

    int first_tile = tile_starts[sequence], past_tile = tile_starts[sequence + 1], context = contexts[sequence];
    int segment = begin;
    u32 query[KV_STEPS][2];
    float sums[OUT_TILES][2], top = LOWEST, weight_sum = 0.f;
    const int head_row = lane >> 2, column = (lane & 3) * 2;

    auto start_segment = [&]() {
        const bf16* row = qkv + (size_t)sequence * QKV + kv_head * GROUP * HEAD_DIM;
        const float2* angle = angles + (size_t)(context - 1) * HALF;
        __syncwarp();
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float x[2][PER_LANE];
            load_head(row + g * HEAD_DIM, lane, x);
            norm_and_rotate(x, q_weight, angle, lane);
            store_head(queries + g * HEAD_DIM, lane, x);
        }
        __syncwarp();
#pragma unroll
        for (int s = 0; s < KV_STEPS; s++) {
            query[s][0] = head_row < GROUP ? *(const u32*)(queries + head_row * HEAD_DIM + s * 16 + column) : 0u;
            query[s][1] = head_row < GROUP ? *(const u32*)(queries + head_row * HEAD_DIM + s * 16 + 8 + column) : 0u;
        }
#pragma unroll
        for (int n = 0; n < OUT_TILES; n++) sums[n][0] = sums[n][1] = 0.f;
        top = LOWEST, weight_sum = 0.f;
    };
    // The new token's k and v: into the pool, and into the tile in shared memory, which was fetched without them.
    auto add_new_token = [&](unsigned char* stage, int k) {
        const int place = (context - 1) % TILE, tile = tiles[begin + k];
        const bf16* row = qkv + (size_t)sequence * QKV + (HEADS + kv_head) * HEAD_DIM;
        float x[2][PER_LANE], v[2][PER_LANE];
        load_head(row, lane, x);
        load_head(row + KV_HEADS * HEAD_DIM, lane, v);
        norm_and_rotate(x, k_weight, angles + (size_t)(context - 1) * HALF, lane);
        bf16* to = pool + ((size_t)tile * KV_HEADS + kv_head) * 2 * (TILE * HEAD_DIM) + place * HEAD_DIM;
        store_head(to, lane, x);
        store_head(to + TILE * HEAD_DIM, lane, v);
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int number = h * HALF + lane * PER_LANE + i;
                const int at = place * ROW_BYTES + (((number >> 3) ^ (place & 7)) << 4) + (number & 7) * 2;
                *(bf16*)(stage + at) = narrow(x[h][i]);
                *(bf16*)(stage + TILE_BYTES + at) = narrow(v[h][i]);
            }
        __syncwarp();
    };
    auto end_segment = [&](int past) {
        weight_sum += __shfl_xor_sync(~0u, weight_sum, 1);
        weight_sum += __shfl_xor_sync(~0u, weight_sum, 2);
        bf16* to = out + (size_t)sequence * (HEADS * HEAD_DIM) + kv_head * GROUP * HEAD_DIM;
        if (segment == first_tile && past == past_tile) {
            const float inverse = 1.f / weight_sum;
            if (head_row < GROUP)
#pragma unroll
                for (int n = 0; n < OUT_TILES; n++)
                    *(u32*)(to + head_row * HEAD_DIM + n * 8 + column) = pack(sums[n][0] * inverse, sums[n][1] * inverse);
            return;
        }
        const int slot = (worker * KV_HEADS + kv_head) * 2 + (segment == first_tile);
        if (head_row < GROUP) {
            float* part = partial.sums + ((size_t)slot * GROUP + head_row) * HEAD_DIM;
#pragma unroll
            for (int n = 0; n < OUT_TILES; n++) *(float2*)(part + n * 8 + column) = make_float2(sums[n][0], sums[n][1]);
            if ((lane & 3) == 0) partial.maxima[slot * GROUP + head_row] = make_float2(top, weight_sum);
        }
        __threadfence();
        __syncwarp();
        const int first = first_tile / share, last = (past_tile - 1) / share;
        u32* arrived = partial.arrived + sequence * KV_HEADS + kv_head;
        u32 before = 0;
        if (lane == 0) before = atomicAdd(arrived, 1u);
        before = __shfl_sync(~0u, before, 0);
        if (before == last - first) {
            __threadfence();
            add_parts(to, partial, first, last, kv_head, lane);
            if (lane == 0) *arrived = 0;
        }
    };

    start_segment();
#pragma unroll 1
    for (int k = 0; begin + k < end; k++) {
        const int tile = begin + k;
        copies_wait<DECODE_STAGES - 2>();
        __syncwarp();
        fetch(k + DECODE_STAGES - 1);  // into the stage that the tile before left
        unsigned char* stage = ring + (k % DECODE_STAGES) * 2 * TILE_BYTES;
        if (tile == past_tile - 1) add_new_token(stage, k);
        const u32 keys = shared_address(stage), values = keys + TILE_BYTES;

        // Scores: 16 tokens in two eights, even and odd slices apart to shorten the chain.
        float score[2][2][2] = {};
        const int matrix = lane >> 3, within = lane & 7;
#pragma unroll
        for (int s = 0; s < KV_STEPS; s++) {
            u32 b[4];
            const int token = (matrix >> 1) * 8 + within, chunk = s * 2 + (matrix & 1);
            load_matrices(b, keys + token * ROW_BYTES + ((chunk ^ (token & 7)) << 4));
            multiply_upper(score[s & 1][0], query[s][0], query[s][1], b[0], b[1]);
            multiply_upper(score[s & 1][1], query[s][0], query[s][1], b[2], b[3]);
        }
        float p[2][2];
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int i = 0; i < 2; i++) p[e][i] = (score[0][e][i] + score[1][e][i]) * scale;
        if (tile == past_tile - 1) {
            const int token = (tile - first_tile) * TILE + column;
#pragma unroll
            for (int e = 0; e < 2; e++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    if (token + e * 8 + i >= context) p[e][i] = LOWEST;
        }
        float higher = fmaxf(fmaxf(p[0][0], p[0][1]), fmaxf(p[1][0], p[1][1]));
        higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
        higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
        higher = fmaxf(top, higher);
        const float shrink = power_of_two(top - higher);
        top = higher;
        weight_sum *= shrink;
#pragma unroll
        for (int e = 0; e < 2; e++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                p[e][i] = power_of_two(p[e][i] - top);
                weight_sum += p[e][i];
            }
        const u32 a0 = pack(p[0][0], p[0][1]), a2 = pack(p[1][0], p[1][1]);
#pragma unroll
        for (int n = 0; n < OUT_TILES; n++) sums[n][0] *= shrink, sums[n][1] *= shrink;
#pragma unroll
        for (int n = 0; n < OUT_TILES; n += 2) {
            u32 b[4];
            const int token = (matrix & 1) * 8 + within, chunk = n + (matrix >> 1);
            load_matrices_transposed(b, values + token * ROW_BYTES + ((chunk ^ (token & 7)) << 4));
            multiply_upper(sums[n], a0, a2, b[0], b[1]);
            multiply_upper(sums[n + 1], a0, a2, b[2], b[3]);
        }

        if (tile + 1 == past_tile || tile + 1 == end) {
            end_segment(tile + 1);
            if (tile + 1 < end) {
                sequence++;
                segment = first_tile = tile + 1;
                past_tile = tile_starts[sequence + 1];
                context = contexts[sequence];
                start_segment();
            }
        }
    }
    copies_wait<0>();
}
