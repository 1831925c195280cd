// Attention of many new tokens of a sequence over its paged keys and values (those of the tokens themselves are in
// the pool already), causal. A block takes 128 queries of one head and walks over the keys 64 at a time; two stages
// of keys and values are in shared memory, so the next is fetched while one is computed with.

constexpr int QUERIES = 128;
constexpr int PREFILL_WARPS = QUERIES / 16;
constexpr int PREFILL_THREADS = PREFILL_WARPS * 32;
constexpr int KEYS = 64;
constexpr int KEY_BYTES = KEYS * ROW_BYTES;
constexpr int QUERY_BYTES = QUERIES * ROW_BYTES;

// work[i]: row of the first query, queries (at most 128), position of the first, where the sequence's tiles begin.
// grid (HEADS, pieces of work), 256 threads, QUERY_BYTES + 4 * KEY_BYTES of shared memory.
// q is normalised and rotated in qkv. scale: what scores are multiplied by, times log2 e.
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, 2)
    attend_prefill(bf16* out, const bf16* qkv, const bf16* pool, const int4* __restrict__ work, const int* __restrict__ tiles, float scale) {
    extern __shared__ __align__(128) unsigned char shared[];
    release_successor();
    await_predecessor();
    const int head = blockIdx.x, kv_head = head / GROUP, thread = threadIdx.x, warp = thread >> 5, lane = thread & 31;
    const int4 piece = work[blockIdx.y];
    const int row = piece.x, queries = piece.y, position = piece.z;
    const int* table = tiles + piece.w;
    const int last_tile = (position + queries - 1) / TILE;  // the last that any query sees
    const int rounds = (position + queries + KEYS - 1) / KEYS;
    const u32 query_address = shared_address(shared), stage_address = query_address + QUERY_BYTES;

    // Queries, rows beyond the last one repeated: their results are not written.
#pragma unroll
    for (int i = 0; i < QUERY_BYTES / 16 / PREFILL_THREADS; i++) {
        const int at = i * PREFILL_THREADS + thread, r = at / CHUNKS, chunk = at % CHUNKS;
        copy16(query_address + r * ROW_BYTES + ((chunk ^ (r & 7)) << 4),
               qkv + (size_t)(row + min(r, queries - 1)) * QKV + head * HEAD_DIM + chunk * 8);
    }
    auto fetch = [&](int round) {
        if (round < rounds) {
            const u32 to = stage_address + (round & 1) * 2 * KEY_BYTES;
#pragma unroll
            for (int i = 0; i < KEY_BYTES / 16 / PREFILL_THREADS; i++) {
                const int at = i * PREFILL_THREADS + thread, r = at / CHUNKS, chunk = at % CHUNKS;
                const int tile = table[min(round * (KEYS / TILE) + r / TILE, last_tile)];
                const unsigned char* from = (const unsigned char*)pool + ((size_t)tile * KV_HEADS + kv_head) * 2 * TILE_BYTES + (r % TILE) * ROW_BYTES + chunk * 16;
                const u32 place = to + r * ROW_BYTES + ((chunk ^ (r & 7)) << 4);
                copy16(place, from);
                copy16(place + KEY_BYTES, from + TILE_BYTES);
            }
        }
        copies_commit();
    };
    fetch(0);

    float sums[HEAD_DIM / 8][4] = {}, top[2] = {LOWEST, LOWEST}, weight_sum[2] = {};
    const int matrix = lane >> 3, within = lane & 7, column = (lane & 3) * 2;
    const int first_position = position + warp * 16;       // of this warp's queries
    const int my_position = first_position + (lane >> 2);  // of the upper row; the lower is 8 further

#pragma unroll 1
    for (int round = 0; round < rounds; round++) {
        fetch(round + 1);
        copies_wait<1>();
        __syncthreads();
        // Keys behind all queries of the warp: nothing to do, but the others still need this warp at the barriers.
        if (round * KEYS <= first_position + 15) {
            const u32 keys = stage_address + (round & 1) * 2 * KEY_BYTES, values = keys + KEY_BYTES;
            float score[KEYS / 8][4] = {};
#pragma unroll
            for (int s = 0; s < HEAD_DIM / 16; s++) {
                u32 a[4];
                const int r = warp * 16 + (matrix & 1) * 8 + within, chunk = s * 2 + (matrix >> 1);
                load_matrices(a, query_address + r * ROW_BYTES + ((chunk ^ (r & 7)) << 4));
#pragma unroll
                for (int n = 0; n < KEYS / 8; n += 2) {
                    u32 b[4];
                    const int token = n * 8 + (matrix >> 1) * 8 + within, key_chunk = s * 2 + (matrix & 1);
                    load_matrices(b, keys + token * ROW_BYTES + ((key_chunk ^ (token & 7)) << 4));
                    multiply(score[n], a[0], a[1], a[2], a[3], b[0], b[1]);
                    multiply(score[n + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
                }
            }
            if (round * KEYS + KEYS - 1 > first_position) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        if (round * KEYS + n * 8 + column + (i & 1) > my_position + (i >> 1) * 8) score[n][i] = LOWEST;
            }
            float shrink[2];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float higher = LOWEST;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) higher = fmaxf(higher, fmaxf(score[n][2 * h], score[n][2 * h + 1]));
                higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
                higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
                higher = fmaxf(top[h], higher * scale);
                shrink[h] = power_of_two(top[h] - higher);
                top[h] = higher;
                weight_sum[h] *= shrink[h];
            }
#pragma unroll
            for (int n = 0; n < HEAD_DIM / 8; n++) {
                sums[n][0] *= shrink[0], sums[n][1] *= shrink[0];
                sums[n][2] *= shrink[1], sums[n][3] *= shrink[1];
            }
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    score[n][i] = power_of_two(score[n][i] * scale - top[i >> 1]);
                    weight_sum[i >> 1] += score[n][i];
                }
#pragma unroll
            for (int s = 0; s < KEYS / 16; s++) {
                const u32 a0 = pack(score[2 * s][0], score[2 * s][1]), a1 = pack(score[2 * s][2], score[2 * s][3]);
                const u32 a2 = pack(score[2 * s + 1][0], score[2 * s + 1][1]), a3 = pack(score[2 * s + 1][2], score[2 * s + 1][3]);
#pragma unroll
                for (int n = 0; n < HEAD_DIM / 8; n += 2) {
                    u32 b[4];
                    const int token = s * 16 + (matrix & 1) * 8 + within, chunk = n + (matrix >> 1);
                    load_matrices_transposed(b, values + token * ROW_BYTES + ((chunk ^ (token & 7)) << 4));
                    multiply(sums[n], a0, a1, a2, a3, b[0], b[1]);
                    multiply(sums[n + 1], a0, a1, a2, a3, b[2], b[3]);
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        weight_sum[h] += __shfl_xor_sync(~0u, weight_sum[h], 1);
        weight_sum[h] += __shfl_xor_sync(~0u, weight_sum[h], 2);
        const int r = warp * 16 + (lane >> 2) + h * 8;
        if (r >= queries) continue;
        const float inverse = 1.f / weight_sum[h];
        bf16* to = out + (size_t)(row + r) * (HEADS * HEAD_DIM) + head * HEAD_DIM + column;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) *(u32*)(to + n * 8) = pack(sums[n][2 * h] * inverse, sums[n][2 * h + 1] * inverse);
    }
    copies_wait<0>();
}
