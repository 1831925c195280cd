// Attention of many new tokens as in prefill.cu, by the warpgroup instructions of compute capability 9.0a.
//
// A block takes 128 queries of one head, each of two warpgroups 64 of them, and walks over the keys 128 at a time. While
// a warpgroup weighs the scores of one round, the tensor cores add the values of the round before. Matrices in shared
// memory stand as the instructions want them: halves of 64 numbers, rows of 128 bytes, 16-byte pieces in the order
// piece ^ (row mod 8).

#if HEAD_DIM == 128

constexpr int QUERIES = 128;
constexpr int KEYS = 128;
constexpr int THREADS = 256;
constexpr int HALF_BYTES = 128 * 128;            // 128 rows, 64 numbers each
constexpr int MATRIX_BYTES = 2 * HALF_BYTES;     // queries, or one stage of keys or of values
constexpr int SCORES = KEYS / 2;                 // numbers that a thread holds of 64 x 128

// Where a matrix lies, for the instructions: rows of 128 bytes with swizzling, groups of 8 rows 1024 bytes apart, halves
// HALF_BYTES apart.
__device__ __forceinline__ u64 matrix(u32 address) {
    return (u64)((address & 0x3ffff) >> 4) | (u64)(HALF_BYTES >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}
__device__ __forceinline__ void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// What the asynchronous instructions wrote is there from here on.
__device__ __forceinline__ void settle(float (&c)[64]) {
#pragma unroll
    for (int i = 0; i < 64; i++) asm volatile("" : "+f"(c[i])::"memory");
}
// c[64][128] = (keep ? c : 0) + a[64][16] . b[128][16]^T, both in shared memory.
__device__ __forceinline__ void multiply_keys(float (&c)[64], u64 a, u64 b, int keep) {
    asm volatile(
        "{\n .reg .pred keep;\n setp.ne.b32 keep, %66, 0;\n"
        " wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, keep, 1, 1, 0, 0;\n}"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
          "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
          "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
          "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]),
          "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
          "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]),
          "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]),
          "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
        : "l"(a), "l"(b), "r"(keep));
}
// c[64][128] += a[64][16] . b[16][128], a in registers.
__device__ __forceinline__ void multiply_values(float (&c)[64], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
          "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
          "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
          "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]),
          "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
          "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]),
          "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]),
          "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

// As attend_prefill of prefill.cu. grid (HEADS, pieces of work), 256 threads, 1024 + 5 * MATRIX_BYTES of shared memory.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    attend_prefill_group(bf16* out, const bf16* qkv, const bf16* pool, const int4* __restrict__ work, const int* __restrict__ tiles, float scale) {
    extern __shared__ __align__(128) unsigned char unaligned[];
    release_successor();
    await_predecessor();
    const int head = blockIdx.x, kv_head = head / GROUP, thread = threadIdx.x, lane = thread & 31, group = thread >> 7;
    const int4 piece = work[blockIdx.y];
    const int row = piece.x, queries = piece.y, position = piece.z;
    const int* table = tiles + piece.w;
    const int last_tile = (position + queries - 1) / TILE;
    const int rounds = (position + queries + KEYS - 1) / KEYS;
    const u32 query_address = (shared_address(unaligned) + 1023) & ~1023u;
    const u32 key_address = query_address + MATRIX_BYTES, value_address = key_address + 2 * MATRIX_BYTES;

    // This thread copies piece `chunk` of every 16th row.
    const int first_row = thread >> 4, chunk = thread & 15;
    const u32 place = (chunk >> 3) * HALF_BYTES + first_row * 128 + (((chunk & 7) ^ (first_row & 7)) << 4);
    const size_t in_tile = (size_t)kv_head * 2 * TILE_BYTES + first_row * ROW_BYTES + chunk * 16;
    auto fetch = [&](u32 to, int round, int offset) {
#pragma unroll
        for (int i = 0; i < KEYS / TILE; i++) {
            const int tile = table[min(round * (KEYS / TILE) + i, last_tile)];
            copy16(to + place + i * 2048, (const unsigned char*)pool + (size_t)tile * KV_HEADS * 2 * TILE_BYTES + in_tile + offset);
        }
    };
    auto arrived = [&]() {
        copies_wait<0>();
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
    };
#pragma unroll
    for (int i = 0; i < QUERIES / 16; i++) {
        const int r = min(first_row + i * 16, queries - 1);
        copy16(query_address + place + i * 2048, qkv + (size_t)(row + r) * QKV + head * HEAD_DIM + chunk * 8);
    }
    fetch(key_address, 0, 0);
    copies_commit();

    float sums[64] = {}, score[SCORES], top[2] = {LOWEST, LOWEST}, weight_sum[2] = {};
    u32 weights[SCORES / 2];
    const u64 query = matrix(query_address + group * 64 * 128);
    const int column = (lane & 3) * 2, my_row = group * 64 + ((thread >> 5) & 3) * 16 + (lane >> 2);

    auto multiply_round = [&](int round) {
        const u64 keys = matrix(key_address + (round & 1) * MATRIX_BYTES);
#pragma unroll
        for (int s = 0; s < HEAD_DIM / 16; s++) {
            const u32 at = (s >> 2) * (HALF_BYTES >> 4) + (s & 3) * 2;
            multiply_keys(score, query + at, keys + at, s > 0);
        }
        group_commit();
    };
    auto add_values = [&](int round) {
        const u64 values = matrix(value_address + (round & 1) * MATRIX_BYTES);
#pragma unroll
        for (int s = 0; s < KEYS / 16; s++)
            multiply_values(sums, weights[4 * s], weights[4 * s + 1], weights[4 * s + 2], weights[4 * s + 3], values + s * (2048 >> 4));
        group_commit();
    };
    // Scores to weights relative to the greatest so far; `shrink` is for what was added before.
    auto weigh = [&](int round, float (&shrink)[2]) {
        if (round * KEYS + KEYS - 1 > position + group * 64) {
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (round * KEYS + n * 8 + column + (i & 1) > position + my_row + (i >> 1) * 8) score[n * 4 + i] = LOWEST;
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float higher = LOWEST;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) higher = fmaxf(higher, fmaxf(score[n * 4 + 2 * h], score[n * 4 + 2 * h + 1]));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
            higher = fmaxf(top[h], higher * scale);
            shrink[h] = power_of_two(top[h] - higher);
            top[h] = higher;
            weight_sum[h] *= shrink[h];
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                score[n * 4 + i] = power_of_two(score[n * 4 + i] * scale - top[i >> 1]);
                weight_sum[i >> 1] += score[n * 4 + i];
            }
    };
    auto pack_weights = [&]() {
#pragma unroll
        for (int i = 0; i < SCORES / 2; i++) weights[i] = pack(score[2 * i], score[2 * i + 1]);
    };

    arrived();
    if (rounds > 1) fetch(key_address + MATRIX_BYTES, 1, 0);
    fetch(value_address, 0, TILE_BYTES);
    copies_commit();
    group_fence();
    multiply_round(0);
    group_wait<0>();
    settle(score);
    float shrink[2];
    weigh(0, shrink);
    pack_weights();
#pragma unroll 1
    for (int round = 1; round < rounds; round++) {
        arrived();  // keys of this round, values of the one before; and all are done with what is fetched over now
        group_fence();
        multiply_round(round);
        add_values(round - 1);
        // Behind the products, for looking the tiles up takes time.
        if (round + 1 < rounds) fetch(key_address + ((round + 1) & 1) * MATRIX_BYTES, round + 1, 0);
        fetch(value_address + (round & 1) * MATRIX_BYTES, round, TILE_BYTES);
        copies_commit();
        group_wait<1>();
        settle(score);
        weigh(round, shrink);
        group_wait<0>();
        settle(sums);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) {
            sums[n * 4] *= shrink[0], sums[n * 4 + 1] *= shrink[0];
            sums[n * 4 + 2] *= shrink[1], sums[n * 4 + 3] *= shrink[1];
        }
        pack_weights();
    }
    arrived();
    group_fence();
    add_values(rounds - 1);
    group_wait<0>();
    settle(sums);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        weight_sum[h] += __shfl_xor_sync(~0u, weight_sum[h], 1);
        weight_sum[h] += __shfl_xor_sync(~0u, weight_sum[h], 2);
        const int r = my_row + h * 8;
        if (r >= queries) continue;
        const float inverse = 1.f / weight_sum[h];
        bf16* to = out + (size_t)(row + r) * (HEADS * HEAD_DIM) + head * HEAD_DIM + column;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++) *(u32*)(to + n * 8) = pack(sums[n * 4 + 2 * h] * inverse, sums[n * 4 + 2 * h + 1] * inverse);
    }
}
#endif
