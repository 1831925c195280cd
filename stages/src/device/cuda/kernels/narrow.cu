// Products of a few rows with a weight matrix, with what stands before and after them: RMSNorm and q, k, v; output
// projection and residual; RMSNorm, gate and up and SiLU; down and residual.
//
// A block owns some columns of the result over the whole inner dimension, and its share of the weights is small
// enough to be held at once. So it asks for all of it before it waits for the predecessor, and the card's memory
// works through the latencies of the kernels before. A thread reads only pieces that it uses itself: lane (n, c) of
// a warp takes weight row n of eight and 8 neighbouring numbers, and the same numbers of the activations. Which
// inner index a multiplication takes first does not matter as long as both sides agree.
//
// Each also asks for the weights that come after the next kernel (`ahead`) to be brought near, so that the memory never
// waits for a kernel to begin.
//
// Needs HIDDEN, HEADS * HEAD_DIM and FFN in multiples of 256. Columns of a block, from the loader: NARROW_QKV,
// NARROW_O, NARROW_FFN, NARROW_DOWN, multiples of 8; where its weights wait: the same names with _HELD.

constexpr int NARROW_WARPS = 8;                    // of a group
constexpr int NARROW_THREADS = NARROW_WARPS * 32;
enum class Held { Registers, Shared };
enum class After { Store, AddResidual, Gate };

template <int COLUMNS> struct Reduction {
    float part[NARROW_WARPS][16][COLUMNS + 8];
    float squares[NARROW_WARPS][16];
};

// The threads of one group meet.
template <int GROUPS> __device__ __forceinline__ void group_barrier(int group) {
    if (GROUPS == 1) __syncthreads();
    else asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"(NARROW_THREADS) : "memory");
}

// out[rows][width], in[rows][K]. Gate: COLUMNS / 2 gate columns and as many up columns, `width` = FFN. A group of eight
// warps takes sixteen rows at a time; two groups share the weights, which then stand in shared memory.
template <int COLUMNS, int K, bool NORM, After AFTER, Held HELD, int GROUPS>
__device__ __forceinline__ void narrow_product(bf16* out, const bf16* in, const bf16* __restrict__ weights, const bf16* __restrict__ norm,
                                               int rows, int width, const void* ahead, int ahead_bytes) {
    static_assert(GROUPS == 1 || HELD == Held::Shared, "registers belong to one thread");
    constexpr int EIGHTS = COLUMNS / 8, STEPS = K / (NARROW_WARPS * 32), PIECES = EIGHTS * STEPS;
    constexpr int RESULTS = AFTER == After::Gate ? COLUMNS / 2 : COLUMNS;
    extern __shared__ __align__(128) unsigned char shared[];
    // Behind the weights, where those stand in shared memory.
    Reduction<COLUMNS>* reductions = (Reduction<COLUMNS>*)(shared + (HELD == Held::Shared ? COLUMNS * K * 2 : 0));
    const int group = threadIdx.x / NARROW_THREADS, thread = threadIdx.x % NARROW_THREADS, warp = thread >> 5, lane = thread & 31, n = lane >> 2;
    const int inner = warp * STEPS * 32 + (lane & 3) * 8;  // first of this lane's numbers; further ones every 32
    Reduction<COLUMNS>& reduction = reductions[group];
    release_successor();

    uint4 held[HELD == Held::Registers ? PIECES : 1], gains[NORM ? STEPS : 1];
    uint4* mine = (uint4*)shared + thread;
#pragma unroll
    for (int e = 0; e < EIGHTS; e++) {
        int column = blockIdx.x * RESULTS + e * 8 + n;
        if (AFTER == After::Gate && e >= EIGHTS / 2) column += width - RESULTS;
        const bf16* from = weights + (size_t)column * K + inner;
#pragma unroll
        for (int s = 0; s < STEPS; s++) {
            if (HELD == Held::Registers) held[e * STEPS + s] = stream16(from + s * 32);
            else if (GROUPS == 1 || (e * STEPS + s) % GROUPS == group)
                copy16(shared_address(mine + (e * STEPS + s) * NARROW_THREADS), from + s * 32);
        }
    }
    if (HELD == Held::Shared) copies_commit();
    if (threadIdx.x == 0) bring_near(ahead, ahead_bytes);
    if (NORM)
#pragma unroll
        for (int s = 0; s < STEPS; s++) gains[s] = stream16(norm + inner + s * 32);

    await_predecessor();
    if (GROUPS > 1) {
        copies_wait<0>();
        __syncthreads();
    }
    for (int base = group * 16; base < rows; base += GROUPS * 16) {
        const bool upper = base + n < rows, lower = base + 8 + n < rows;
        const bf16* from = in + (size_t)(base + n) * K + inner;
        float sums[EIGHTS][4] = {}, squares[2] = {};
        constexpr int AT_ONCE = STEPS < 4 ? STEPS : 4;
#pragma unroll
        for (int first = 0; first < STEPS; first += AT_ONCE) {
            uint4 a[AT_ONCE][2];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                if (first + i >= STEPS) continue;
                a[i][0] = upper ? *(const uint4*)(from + (first + i) * 32) : make_uint4(0, 0, 0, 0);
                a[i][1] = lower ? *(const uint4*)(from + 8 * K + (first + i) * 32) : make_uint4(0, 0, 0, 0);
            }
            if (HELD == Held::Shared && GROUPS == 1 && first == 0) copies_wait<0>();
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) {
                if (first + i >= STEPS) continue;
                const int s = first + i;
                if (NORM) {
                    float gain[8];
                    unpack(gains[s], gain);
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        float x[8];
                        unpack(a[i][h], x);
#pragma unroll
                        for (int k = 0; k < 8; k++) squares[h] += x[k] * x[k], x[k] *= gain[k];
                        a[i][h] = pack8(x);
                    }
                }
#pragma unroll
                for (int e = 0; e < EIGHTS; e++) {
                    const uint4 b = HELD == Held::Registers ? held[e * STEPS + s] : mine[(e * STEPS + s) * NARROW_THREADS];
                    multiply(sums[e], a[i][0].x, a[i][1].x, a[i][0].y, a[i][1].y, b.x, b.y);
                    multiply(sums[e], a[i][0].z, a[i][1].z, a[i][0].w, a[i][1].w, b.z, b.w);
                }
            }
        }
        if (base >= GROUPS * 16) group_barrier<GROUPS>(group);
        const int column = (lane & 3) * 2;
#pragma unroll
        for (int e = 0; e < EIGHTS; e++) {
            *(float2*)&reduction.part[warp][n][e * 8 + column] = make_float2(sums[e][0], sums[e][1]);
            *(float2*)&reduction.part[warp][n + 8][e * 8 + column] = make_float2(sums[e][2], sums[e][3]);
        }
        if (NORM) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                squares[h] += __shfl_xor_sync(~0u, squares[h], 1);
                squares[h] += __shfl_xor_sync(~0u, squares[h], 2);
                if ((lane & 3) == 0) reduction.squares[warp][n + 8 * h] = squares[h];
            }
        }
        group_barrier<GROUPS>(group);
        for (int at = thread; at < 16 * RESULTS; at += NARROW_THREADS) {
            const int row = at / RESULTS, result = at % RESULTS;
            if (base + row >= rows) break;
            float sum = 0.f, up = 0.f, square = 0.f;
#pragma unroll
            for (int w = 0; w < NARROW_WARPS; w++) {
                sum += reduction.part[w][row][result];
                if (AFTER == After::Gate) up += reduction.part[w][row][RESULTS + result];
                if (NORM) square += reduction.squares[w][row];
            }
            bf16* to = out + (size_t)(base + row) * width + blockIdx.x * RESULTS + result;
            const float inverse = NORM ? rsqrtf(square * (1.f / K) + NORM_EPS) : 1.f;
            if (AFTER == After::Store) *to = narrow(sum * inverse);
            if (AFTER == After::AddResidual) *to = narrow(widen(*to) + sum);
            if (AFTER == After::Gate) *to = narrow(silu(sum * inverse) * (up * inverse));
        }
    }
}

// All: 256 threads, those with `_pair` 512. Dynamic shared memory: columns * K * 2 bytes where the weights stand there,
// and a Reduction for each group.
#define NARROW(name, columns, inner, norm_first, after, held, width)                                                              \
    extern "C" __global__ void __launch_bounds__(NARROW_THREADS, 2)                                                               \
        name(bf16* out, const bf16* in, const bf16* __restrict__ weights, const bf16* __restrict__ norm, int rows, const void* ahead, int ahead_bytes) { \
        narrow_product<columns, inner, norm_first, after, Held::held, 1>(out, in, weights, norm, rows, width, ahead, ahead_bytes); \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(2 * NARROW_THREADS, 1)                                                           \
        name##_pair(bf16* out, const bf16* in, const bf16* __restrict__ weights, const bf16* __restrict__ norm, int rows, const void* ahead, int ahead_bytes) { \
        narrow_product<columns, inner, norm_first, after, Held::Shared, 2>(out, in, weights, norm, rows, width, ahead, ahead_bytes); \
    }
NARROW(narrow_qkv, NARROW_QKV, HIDDEN, true, After::Store, NARROW_QKV_HELD, QKV)
NARROW(narrow_o, NARROW_O, HEADS * HEAD_DIM, false, After::AddResidual, NARROW_O_HELD, HIDDEN)
NARROW(narrow_ffn, 2 * NARROW_FFN, HIDDEN, true, After::Gate, NARROW_FFN_HELD, FFN)
NARROW(narrow_down, NARROW_DOWN, FFN, false, After::AddResidual, NARROW_DOWN_HELD, HIDDEN)
