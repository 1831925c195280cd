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
constexpr int ROWS_AT_ONCE = 32 / CHUNKS;  // rows that a warp copies at once
constexpr int OUT_TILES = HEAD_DIM / 8;   // columns of the output in eights
static_assert(GROUP <= 8, "query heads are the first eight rows of a multiplication");

struct Partial {
    float* sums;      // [warps][2][GROUP][HEAD_DIM]
    float2* maxima;   // [warps][2][GROUP]: greatest score in powers of two, sum of weights
    u32* arrived;     // [sequences][KV_HEADS], zero before and after
};

// Adds the parts of a sequence that workers `first` to `last` of this KV head left.
__device__ __forceinline__ void add_parts(bf16* out, const Partial& partial, int first, int last, int kv_head, int lane) {
    constexpr int WIDTH = HEAD_DIM / 32;                                // numbers of a lane
    constexpr int AT_ONCE = GROUP <= 2 ? 8 : GROUP <= 4 ? 4 : 2;        // parts on their way together
    auto slot = [&](int p) { return (size_t)((p * KV_HEADS + kv_head) * 2 + (p == first)) * GROUP; };
    float top[GROUP], total[GROUP] = {}, sum[GROUP][WIDTH] = {}, part[AT_ONCE][GROUP][WIDTH];
#pragma unroll
    for (int g = 0; g < GROUP; g++) top[g] = LOWEST;
    // Parts from `from` on; beyond the last one it stands again, with a weight of nothing.
    auto load = [&](int from) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const float* at = partial.sums + slot(min(from + i, last)) * HEAD_DIM + lane * WIDTH;
#pragma unroll
            for (int g = 0; g < GROUP; g++) {
                if constexpr (WIDTH == 4) {
                    const float4 v = fresh4((const float4*)(at + g * HEAD_DIM));
                    part[i][g][0] = v.x, part[i][g][1] = v.y, part[i][g][WIDTH - 2] = v.z, part[i][g][WIDTH - 1] = v.w;
                } else {
                    const float2 v = fresh2((const float2*)(at + g * HEAD_DIM));
                    part[i][g][0] = v.x, part[i][g][1] = v.y;
                }
            }
        }
    };
    load(first);
    for (int base = first; base <= last; base += 32) {
        // Lane i weighs the i-th part of these 32; what was added before shrinks when a greater score turns up.
        float weight[GROUP];
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            const float2 m = base + lane <= last ? fresh2(partial.maxima + slot(base + lane) + g) : make_float2(LOWEST, 0.f);
            const float higher = fmaxf(top[g], warp_max(m.x)), shrink = power_of_two(top[g] - higher);
            top[g] = higher;
            weight[g] = base + lane <= last ? power_of_two(m.x - higher) : 0.f;
            total[g] = total[g] * shrink + weight[g] * m.y;
#pragma unroll
            for (int i = 0; i < WIDTH; i++) sum[g][i] *= shrink;
        }
        const int n = min(32, last - base + 1);
#pragma unroll 1
        for (int i = 0; i < n; i += AT_ONCE) {
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++)
#pragma unroll
                for (int g = 0; g < GROUP; g++) {
                    const float w = __shfl_sync(~0u, weight[g], i + j);
#pragma unroll
                    for (int k = 0; k < WIDTH; k++) sum[g][k] += w * part[j][g][k];
                }
            if (base + i + AT_ONCE <= last) load(base + i + AT_ONCE);
        }
    }
#pragma unroll
    for (int g = 0; g < GROUP; g++) {
        const float inverse = 1.f / warp_sum(total[g]);
        u32* to = (u32*)(out + g * HEAD_DIM + lane * WIDTH);
#pragma unroll
        for (int i = 0; i < WIDTH / 2; i++) to[i] = pack(sum[g][2 * i] * inverse, sum[g][2 * i + 1] * inverse);
    }
}

// A sequence as a worker meets it: where it ends, and the new token's rows as the projection made them. Loaded a
// segment ahead: while the memory is saturated a load takes microseconds.
struct Coming {
    int past, context, last_tile;
    Raw q[GROUP], k, v;
    float2 angles[PER_LANE];
};

// out: [rows][HEADS * HEAD_DIM]; qkv: [rows][QKV] as the projection made it; row i belongs to sequence i.
// contexts: tokens of each sequence, the new one included, 0 for padding. tile_starts: [sequences + 1], where each
// sequence's tiles begin in `tiles`. Shared memory: DECODE_WARPS * (RING_BYTES + GROUP * ROW_BYTES).
extern "C" __global__ void __launch_bounds__(DECODE_WARPS * 32, 2)
    attend_decode(bf16* out, const bf16* qkv, bf16* pool, const bf16* __restrict__ q_weight,
                  const bf16* __restrict__ k_weight, const float2* __restrict__ angles, const int* __restrict__ contexts,
                  const int* __restrict__ tile_starts, const int* __restrict__ tiles, int sequences, float scale, Partial partial,
                  const void* ahead, int ahead_bytes) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    unsigned char* ring = shared + warp * RING_BYTES;
    bf16* queries = (bf16*)(shared + DECODE_WARPS * RING_BYTES + warp * GROUP * ROW_BYTES);
    const u32 ring_address = shared_address(ring);
    release_successor();
    if (threadIdx.x == 0) bring_near(ahead, ahead_bytes);

    const int id = blockIdx.x * DECODE_WARPS + warp, kv_head = id % KV_HEADS, worker = id / KV_HEADS;
    const int workers = gridDim.x * DECODE_WARPS / KV_HEADS;
    const int total = tile_starts[sequences];
    const int share = max((total + workers - 1) / workers, DECODE_LEAST_SHARE);
    const int begin = worker * share, end = min(total, begin + share);
    if (worker >= workers || begin >= end) return;

    // A row's 16-byte pieces stand in an order of its own, piece ^ (row mod 8), so that no two lanes meet in a bank.
    // What a lane needs of that is one number and constants.
    const u32 my_piece = lane / CHUNKS * ROW_BYTES + (((lane % CHUNKS) ^ (lane / CHUNKS)) << 4);
    const int matrix = lane >> 3, within = lane & 7;
    const u32 my_key = ((matrix >> 1) * 8 + within) * ROW_BYTES + (((matrix & 1) ^ within) << 4);
    const u32 my_value = ((matrix & 1) * 8 + within) * ROW_BYTES + (((matrix >> 1) ^ within) << 4);

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
            for (int i = 0; i < 2 * TILE_BYTES / 512; i++)
                copy16(to + i * 512 + (my_piece ^ (((i * ROWS_AT_ONCE) & 7) << 4)), from + i * 512 + lane * 16);
        }
        copies_commit();
    };
    // The pool's older tokens do not come from the predecessor.
#pragma unroll
    for (int k = 0; k < DECODE_STAGES - 1; k++) fetch(k);

    int sequence = 0;
    for (int base = 0; base < sequences; base += 32)
        sequence += __popc(__ballot_sync(~0u, base + lane < sequences && tile_starts[base + lane + 1] <= begin));

    const Raw q_gain = load_weight(q_weight, lane), k_gain = load_weight(k_weight, lane);
    Coming coming;
    auto look_up = [&](int s) {
        s = min(s, sequences - 1);
        coming.past = tile_starts[s + 1];
        coming.context = contexts[s];
    };
    auto look_closer = [&]() {
        coming.last_tile = tiles[coming.past - 1];
        load_angles(angles, max(coming.context, 1) - 1, lane, coming.angles);
    };
    auto load_rows = [&](int s) {
        const bf16* row = qkv + (size_t)min(s, sequences - 1) * QKV + kv_head * HEAD_DIM;
#pragma unroll
        for (int g = 0; g < GROUP; g++) coming.q[g] = load_raw(row + (kv_head * (GROUP - 1) + g) * HEAD_DIM, lane);
        coming.k = load_raw(row + HEADS * HEAD_DIM, lane);
        coming.v = load_raw(row + (HEADS + KV_HEADS) * HEAD_DIM, lane);
    };
    look_up(sequence);
    look_closer();
    int first_tile = tile_starts[sequence];

    await_predecessor();

    load_rows(sequence);
    int past_tile, context, last_tile, segment = begin;
    int head_first = 0, head_past = 0;  // of the first segment, where it is only a part of its sequence
    Raw new_key, new_value;
    float2 new_angles[PER_LANE];
    u32 query[KV_STEPS][2];
    float sums[OUT_TILES][2], top, weight_sum;
    const int head_row = lane >> 2, column = (lane & 3) * 2, first_sequence = sequence;

    auto start_segment = [&]() {
        past_tile = coming.past, context = coming.context, last_tile = coming.last_tile;
        new_key = coming.k, new_value = coming.v;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) new_angles[i] = coming.angles[i];
        __syncwarp();
#pragma unroll
        for (int g = 0; g < GROUP; g++) {
            float x[2][PER_LANE];
            expand(coming.q[g], x);
            norm_and_rotate(x, q_gain, new_angles);
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
        if (past_tile < end) {
            look_up(sequence + 1);
            load_rows(sequence + 1);
            look_closer();
        }
    };
    // The new token's k and v: into the pool, and into the tile in shared memory, which was fetched without them.
    auto add_new_token = [&](unsigned char* stage) {
        const int place = (context - 1) % TILE;
        float x[2][PER_LANE], v[2][PER_LANE];
        expand(new_key, x);
        expand(new_value, v);
        norm_and_rotate(x, k_gain, new_angles);
        bf16* to = pool + ((size_t)last_tile * KV_HEADS + kv_head) * 2 * (TILE * HEAD_DIM) + place * HEAD_DIM;
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
    auto output = [&](int s) { return out + (size_t)s * (HEADS * HEAD_DIM) + kv_head * GROUP * HEAD_DIM; };
    auto end_segment = [&](int past) {
        weight_sum += __shfl_xor_sync(~0u, weight_sum, 1);
        weight_sum += __shfl_xor_sync(~0u, weight_sum, 2);
        if (head_row >= GROUP) return;
        if (segment == first_tile && past == past_tile) {
            const float inverse = 1.f / weight_sum;
            bf16* to = output(sequence) + head_row * HEAD_DIM + column;
#pragma unroll
            for (int n = 0; n < OUT_TILES; n++) *(u32*)(to + n * 8) = pack(sums[n][0] * inverse, sums[n][1] * inverse);
            return;
        }
        const int slot = ((worker * KV_HEADS + kv_head) * 2 + (segment == first_tile)) * GROUP + head_row;
        float* part = partial.sums + (size_t)slot * HEAD_DIM + column;
#pragma unroll
        for (int n = 0; n < OUT_TILES; n++) *(float2*)(part + n * 8) = make_float2(sums[n][0], sums[n][1]);
        if ((lane & 3) == 0) partial.maxima[slot] = make_float2(top, weight_sum);
    };

    start_segment();
#pragma unroll 1
    for (int k = 0; begin + k < end; k++) {
        const int tile = begin + k;
        copies_wait<DECODE_STAGES - 2>();
        __syncwarp();
        fetch(k + DECODE_STAGES - 1);  // into the stage that the tile before left
        unsigned char* stage = ring + (k % DECODE_STAGES) * 2 * TILE_BYTES;
        if (tile == past_tile - 1) add_new_token(stage);
        const u32 keys = shared_address(stage), values = keys + TILE_BYTES;

        // Scores: 16 tokens in two eights, even and odd slices apart to shorten the chain.
        float score[2][2][2] = {};
#pragma unroll
        for (int s = 0; s < KV_STEPS; s++) {
            u32 b[4];
            load_matrices(b, keys + (my_key ^ (s << 5)));
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
            load_matrices_transposed(b, values + (my_value ^ (n << 4)));
            multiply_upper(sums[n], a0, a2, b[0], b[1]);
            multiply_upper(sums[n + 1], a0, a2, b[2], b[3]);
        }

        if (tile + 1 == past_tile || tile + 1 == end) {
            end_segment(tile + 1);
            if (segment == begin && (segment != first_tile || tile + 1 != past_tile)) head_first = first_tile, head_past = past_tile;
            if (tile + 1 < end) {
                sequence++;
                segment = first_tile = tile + 1;
                start_segment();
            }
        }
    }
    copies_wait<0>();

    // Only now, with nothing left to stream, is it said what was left for others: a fence would hold up the ring.
    const bool is_head = head_past > 0, is_tail = segment != begin && end != past_tile;
    if (!is_head && !is_tail) return;
    __threadfence();
    __syncwarp();
    u32 before[2] = {0, 0};
    if (lane == 0 && is_head) before[0] = atomicAdd(partial.arrived + first_sequence * KV_HEADS + kv_head, 1u);
    if (lane == 0 && is_tail) before[1] = atomicAdd(partial.arrived + sequence * KV_HEADS + kv_head, 1u);
#pragma unroll 1
    for (int i = 0; i < 2; i++) {
        if (i == 0 ? !is_head : !is_tail) continue;
        const int s = i == 0 ? first_sequence : sequence;
        const int first = (i == 0 ? head_first : first_tile) / share, last = ((i == 0 ? head_past : past_tile) - 1) / share;
        if (__shfl_sync(~0u, i == 0 ? before[0] : before[1], 0) != last - first) continue;
        __threadfence();
        add_parts(output(s), partial, first, last, kv_head, lane);
        if (lane == 0) partial.arrived[s * KV_HEADS + kv_head] = 0;
    }
}
