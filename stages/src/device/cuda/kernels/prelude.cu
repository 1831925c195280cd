// Shared by every kernel file, put before it by the loader; no header is needed. The shape comes from the command
// line: HIDDEN, FFN, HEADS, KV_HEADS, HEAD_DIM, QK_NORM (0 or 1), NORM_EPS.
//
// bf16 numbers are raw 16-bit words. Rows of activations are tokens. The KV pool of a layer is
// [tiles][KV_HEADS][K, V][16 tokens][HEAD_DIM]: what one warp reads for 16 tokens of a head lies in one piece.

#pragma nv_diag_suppress 177  // a file need not use every constant

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr int GROUP = HEADS / KV_HEADS;             // query heads that share a KV head
constexpr int QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM;  // numbers in a row of q, k, v
constexpr int TILE = 16;                            // tokens that a tile of the pool holds
constexpr int ROW_BYTES = HEAD_DIM * 2;             // one token of one head
constexpr int TILE_BYTES = TILE * ROW_BYTES;        // K or V of one tile and head
constexpr int CHUNKS = ROW_BYTES / 16;              // 16-byte pieces of a row
constexpr int HALF = HEAD_DIM / 2;                  // rotary pairs are (i, i + HALF)
constexpr int PER_LANE = HALF / 32;                 // rotary pairs of a lane
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOWEST = -1e30f;

__device__ __forceinline__ float low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ float widen(bf16 v) { return __uint_as_float((u32)v << 16); }
// Two numbers to bf16, the first in the low half.
__device__ __forceinline__ u32 pack(float a, float b) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    return r;
}
__device__ __forceinline__ bf16 narrow(float a) { return (bf16)pack(a, 0.f); }
__device__ __forceinline__ void unpack(const uint4& v, float (&f)[8]) {
    f[0] = low(v.x), f[1] = high(v.x), f[2] = low(v.y), f[3] = high(v.y);
    f[4] = low(v.z), f[5] = high(v.z), f[6] = low(v.w), f[7] = high(v.w);
}
__device__ __forceinline__ uint4 pack8(const float (&f)[8]) {
    return make_uint4(pack(f[0], f[1]), pack(f[2], f[3]), pack(f[4], f[5]), pack(f[6], f[7]));
}
__device__ __forceinline__ float power_of_two(float a) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}
__device__ __forceinline__ float silu(float a) { return a / (1.f + power_of_two(-a * LOG2_E)); }
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
    return v;
}

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
// 16 bytes from global to shared memory without passing through registers.
__device__ __forceinline__ void copy16(u32 to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// Constant data, read once: kept out of L1, and issued where it stands.
__device__ __forceinline__ uint4 stream16(const void* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}
// What another block of this grid wrote.
__device__ __forceinline__ float4 fresh4(const float4* p) {
    float4 v;
    asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p) : "memory");
    return v;
}
__device__ __forceinline__ float2 fresh2(const float2* p) {
    float2 v;
    asm volatile("ld.global.cg.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// c[16][8] += a[16][16] · b[16][8]
__device__ __forceinline__ void multiply(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// The same where rows 8 to 15 of a are zero: they take no registers.
__device__ __forceinline__ void multiply_upper(float (&c)[2], u32 a0, u32 a2, u32 b0, u32 b1) {
    asm("{\n .reg .f32 unused0, unused1;\n"
        " mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,unused0,unused1}, {%2,%6,%3,%6}, {%4,%5}, {%0,%1,%7,%7};\n}"
        : "+f"(c[0]), "+f"(c[1])
        : "r"(a0), "r"(a2), "r"(b0), "r"(b1), "r"(0), "f"(0.f));
}

// Programmatic dependent launch: a kernel lets its successor start at once, and before its first use of what the
// predecessor wrote (and before its own first write) it waits until the predecessor is complete. Every block that
// does not leave at once must wait, so completeness is transitive along the stream. A pointer to what a predecessor
// wrote is never `__restrict__`: the compiler may move a load it believes invariant to before the wait.
__device__ __forceinline__ void release_successor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_predecessor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Asks for this block's share of `bytes` from `from` on (weights of a kernel that comes later) to be brought into the
// second-level cache. One thread calls it.
__device__ __forceinline__ void bring_near(const void* from, int bytes) {
    const int share = (bytes / (int)gridDim.x + 127) & ~127, begin = blockIdx.x * share, end = min(bytes, begin + share);
    for (int at = begin; at < end;) {
#if __CUDA_ARCH__ >= 900
        const int piece = min(end - at, 16384) & ~15;
        if (piece == 0) break;
        asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"((const char*)from + at), "r"(piece) : "memory");
        at += piece;
#else
        asm volatile("prefetch.global.L2 [%0];" ::"l"((const char*)from + at));
        at += 128;
#endif
    }
}

// One head of one token by one warp: RMSNorm over the head (where the model has it), rotary rotation. Lane l holds
// numbers l * PER_LANE + i of the first half in x[0][i] and of the second half in x[1][i]; raw as it lies in memory.
struct Raw {
    u32 half[2];
};
__device__ __forceinline__ Raw load_raw(const bf16* head, int lane) {
    Raw raw;
#pragma unroll
    for (int h = 0; h < 2; h++) raw.half[h] = PER_LANE == 2 ? *(const u32*)(head + h * HALF + lane * 2) : (u32)head[h * HALF + lane];
    return raw;
}
__device__ __forceinline__ void expand(const Raw& raw, float (&x)[2][PER_LANE]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        x[h][0] = low(raw.half[h]);
        if (PER_LANE == 2) x[h][PER_LANE - 1] = high(raw.half[h]);
    }
}
__device__ __forceinline__ void store_head(bf16* head, int lane, const float (&x)[2][PER_LANE]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if constexpr (PER_LANE == 2) *(u32*)(head + h * HALF + lane * 2) = pack(x[h][0], x[h][PER_LANE - 1]);
        else head[h * HALF + lane] = narrow(x[h][0]);
    }
}
// angles: cosine and sine of this lane's pairs; weight is read only where the model has the norm.
__device__ __forceinline__ void norm_and_rotate(float (&x)[2][PER_LANE], const Raw& weight, const float2 (&angles)[PER_LANE]) {
    if (QK_NORM) {
        float squares = 0.f;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) squares += x[0][i] * x[0][i] + x[1][i] * x[1][i];
        const float inverse = rsqrtf(warp_sum(squares) * (1.f / HEAD_DIM) + NORM_EPS);
        float w[2][PER_LANE];
        expand(weight, w);
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) x[0][i] *= inverse * w[0][i], x[1][i] *= inverse * w[1][i];
    }
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) {
        const float a = x[0][i], b = x[1][i];
        x[0][i] = a * angles[i].x - b * angles[i].y;
        x[1][i] = b * angles[i].x + a * angles[i].y;
    }
}
__device__ __forceinline__ Raw load_weight(const bf16* weight, int lane) { return QK_NORM ? load_raw(weight, lane) : Raw{}; }
__device__ __forceinline__ void load_angles(const float2* angles, int position, int lane, float2 (&mine)[PER_LANE]) {
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) mine[i] = angles[(size_t)position * HALF + lane * PER_LANE + i];
}
