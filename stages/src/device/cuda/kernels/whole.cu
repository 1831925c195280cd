// A whole decode step of a few sequences in one kernel: all layers, the output projection and the choice of the greatest.
//
// One block a multiprocessor, WHOLE_BLOCKS in all. A warp of each block streams the block's share of every matrix and of
// the KV pool through a ring in shared memory, in the order of the step and without ever waiting for activations, so the
// card's memory never rests. Eight warps multiply. Activations go from block to block through the second-level cache:
// the readers poll the data itself. What has not been written yet is EMPTY, a pair of NaNs that no arithmetic makes, so
// there is no barrier, no flag and no fence between the blocks. Six such exchanges a layer: q k v, parts of attention,
// attention, residual, feed-forward, residual.
//
// Every exchange has two copies, used by layers in turn. When a block has received attention of layer l from every
// block, everybody is done reading what was sent in layer l - 1; it then empties its own share of that copy, and a fence
// stands between that and what it sends next, which every block needs before it can come to layer l + 1.
//
// Needs compute capability 9.0, head_dim 128, two query heads a KV head, HIDDEN 1024 and the other widths in multiples
// of 1024. All blocks must be resident at once (a cooperative launch).

#if __CUDA_ARCH__ >= 900

constexpr int BLOCKS = WHOLE_BLOCKS;
constexpr int WARPS = 8, THREADS = WARPS * 32;
constexpr int PIECE = 1024;                       // columns of weights that the warps share at a time, 128 each
constexpr int UNITS = 8;                          // weight rows of a stage
constexpr int UNIT_STRIDE = PIECE * 2 + 64;       // no two rows of a pair of lanes meet in a bank
constexpr int KV_STRIDE = ROW_BYTES + 16;         // the same for a token's key or value
constexpr int KV_BYTES = 2 * TILE * KV_STRIDE;    // a tile's keys and values
constexpr int STAGE = 2 * KV_BYTES;               // two tiles, or UNITS rows of weights
constexpr int ATTENDED = HEADS * HEAD_DIM;
constexpr int QKV_ROWS = QKV / BLOCKS, OUT_ROWS = HIDDEN / BLOCKS, FFN_ROWS = FFN / BLOCKS;
constexpr int WORKERS = BLOCKS / KV_HEADS;        // blocks that share a KV head's attention
constexpr int PART = GROUP * HEAD_DIM + 2 * GROUP;  // words of a part of attention: sums, then greatest score and weight
constexpr u32 EMPTY = 0xffffffffu;
constexpr int MOST_POLLS = 1 << 23;               // then something is broken: an error instead of a card that hangs
static_assert(HEAD_DIM == 128 && GROUP == 2 && HIDDEN == PIECE && OUT_ROWS == UNITS, "the shape that this kernel is made for");
static_assert(QKV % (BLOCKS * UNITS) == 0 && FFN % (BLOCKS * UNITS) == 0 && ATTENDED % PIECE == 0 && FFN % PIECE == 0, "shares are whole");
static_assert(UNITS * UNIT_STRIDE <= STAGE && QKV_ROWS == 32 && FFN_ROWS <= 32, "a warp sends a row's share");

struct WholeLayer {
    const bf16 *attention_norm, *qkv, *q_norm, *k_norm, *o, *ffn_norm, *gate_up, *down;
};

struct Whole {
    const WholeLayer* layers;
    const bf16* residual;  // [ROWS][HIDDEN]: rows of the embedding
    const bf16* norm;
    const bf16* head;      // [vocab][HIDDEN]
    bf16* pool;
    u64 pool_layer;        // numbers of a layer in the pool
    const float2* angles;
    const int *contexts, *tile_starts, *tiles;  // as attend_decode has them
    u32* exchange;         // two copies, EMPTY before the first step
    float* logits;         // [ROWS][vocab]
    u64* best;             // [ROWS], zero before and after
    u32* arrived;          // [ROWS], zero before and after
    u32* made;             // [ROWS]
    float scale;
    int layer_count, vocab;
    int turn;              // which copy layer 0 uses
    int pace;              // clock cycles between requests of 8 KiB at least: what the memory delivers
    int in_flight;         // stages asked for and not yet there, at most
    int patience;          // clock cycles before what others send is looked for
};

// Where each exchange begins in a copy, in words.
template <int ROWS> struct Exchange {
    static constexpr int QKV_AT = 0;
    static constexpr int PARTS_AT = QKV_AT + ROWS * QKV / 2;
    static constexpr int ATTENDED_AT = PARTS_AT + KV_HEADS * ROWS * WORKERS * PART;
    static constexpr int MIDDLE_AT = ATTENDED_AT + ROWS * ATTENDED / 2;
    static constexpr int FFN_AT = MIDDLE_AT + ROWS * HIDDEN / 2;
    static constexpr int RESIDUAL_AT = FFN_AT + ROWS * FFN / 2;
    static constexpr int WORDS = RESIDUAL_AT + ROWS * HIDDEN / 2;
};

// Dynamic shared memory, in bytes.
template <int ROWS> struct Room {
    static constexpr int WIDEST = FFN > ATTENDED ? FFN : ATTENDED;
    static constexpr int ACTIVATIONS = ROWS * (WIDEST * 2 + 64);
    static constexpr int SUMS = WARPS * GROUP * (HEAD_DIM + 2) * 4;  // parts of attention by warp
    static constexpr int RAW = ROWS * 4 * HEAD_DIM * 2;              // q, q, k, v of this KV head
    static constexpr int FIRST = ACTIVATIONS > SUMS + RAW ? ACTIVATIONS : SUMS + RAW;
    static constexpr int PRODUCTS = 2 * FFN_ROWS * ROWS * (WARPS + 1) * 4;
    static constexpr int COMBINED = WORKERS * (16 * ROWS + 4) * 4;
    static constexpr int SECOND = ((PRODUCTS > COMBINED ? PRODUCTS : COMBINED) + 127) / 128 * 128;
    static constexpr int ANGLES = ROWS * HALF * 8;
    static constexpr int SMALL = 1024;
    static constexpr int REST = (FIRST + 127) / 128 * 128 + SECOND + ANGLES + SMALL;
    static constexpr int STAGES = (WHOLE_SHARED - REST) / STAGE < 12 ? (WHOLE_SHARED - REST) / STAGE : 12;
};

__device__ __forceinline__ void barrier_init(u32 b, u32 n) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(b), "r"(n) : "memory"); }
__device__ __forceinline__ void barrier_arrive(u32 b) { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(b) : "memory"); }
__device__ __forceinline__ void barrier_expect(u32 b, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(b), "r"(bytes) : "memory"); }
__device__ __forceinline__ void barrier_wait(u32 b, u32 parity) {
    asm volatile("{\n .reg .pred p;\nWAIT: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n @p bra DONE;\n bra WAIT;\nDONE:\n}" ::"r"(b), "r"(parity) : "memory");
}
__device__ __forceinline__ void bulk_copy(u32 to, const void* from, u32 bytes, u32 barrier, u64 policy) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to), "l"(from), "r"(bytes), "r"(barrier), "l"(policy) : "memory");
}
// This thread's copies of 16 bytes arrive at a barrier when they are there.
__device__ __forceinline__ void arrive_when_copied(u32 b) { asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(b) : "memory"); }
__device__ __forceinline__ void send(u32* to, u32 v) { asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(v) : "memory"); }
__device__ __forceinline__ void empty4(u32* to) { asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1,%1,%1,%1};" ::"l"(to), "r"(EMPTY) : "memory"); }
__device__ __forceinline__ uint4 peek4(const u32* p) {
    uint4 v;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p) : "memory");
    return v;
}
__device__ __forceinline__ bool is_whole(const uint4& v) { return v.x != EMPTY && v.y != EMPTY && v.z != EMPTY && v.w != EMPTY; }
// The multiplying warps meet.
__device__ __forceinline__ void meet() {
    __syncwarp();
    asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
}
// Pieces `first`, `first` + THREADS, ... below `count` of what others send.
template <int EACH> __device__ __forceinline__ void receive(const u32* from, int first, int count, uint4 (&v)[EACH]) {
    u32 open = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) open |= (u32)(first + i * THREADS < count) << i;
    int polls = 0;
    while (open) {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (open >> i & 1) v[i] = peek4(from + 4 * (first + i * THREADS));
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if ((open >> i & 1) && is_whole(v[i])) open &= ~(1u << i);
        if (++polls > MOST_POLLS) __trap();
    }
}

template <int ROWS> __device__ __forceinline__ void whole_step(const Whole& p) {
    constexpr int STAGES = Room<ROWS>::STAGES;
    using At = Exchange<ROWS>;
    extern __shared__ __align__(1024) unsigned char shared[];
    unsigned char* activations = shared + STAGES * STAGE;
    float* sums_of_warps = (float*)activations;                       // [WARPS][GROUP][HEAD_DIM], then [WARPS][GROUP][2]
    bf16* raw = (bf16*)(activations + Room<ROWS>::SUMS);              // [ROWS][4][HEAD_DIM]
    float* products = (float*)(activations + (Room<ROWS>::FIRST + 127) / 128 * 128);  // [unit][row][WARPS + 1]
    float* combined = products;                                       // [WORKERS][16 * ROWS + 4]
    float2* angles = (float2*)((unsigned char*)products + Room<ROWS>::SECOND);  // [ROWS][HALF]
    float* squares = (float*)(angles + ROWS * HALF);                  // [ROWS][4]
    int* starts = (int*)(squares + 32);                               // [ROWS + 1]
    int* contexts = starts + 16;                                      // [ROWS]
    u64* best_of_warps = (u64*)(contexts + 16);                       // [WARPS][ROWS]
    u64* barriers = best_of_warps + 64;
    const u32 full = shared_address(barriers), vacant = full + 8 * STAGES, ring = shared_address(shared);
    int thread = threadIdx.x, block = blockIdx.x, lane = thread & 31, warp = thread >> 5;

    if (thread == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(full + 8 * i, 32);
            barrier_init(vacant + 8 * i, WARPS);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    if (thread <= ROWS) starts[thread] = p.tile_starts[thread];
    if (thread < ROWS) contexts[thread] = p.contexts[thread];
    __syncthreads();
    for (int i = thread; i < ROWS * HALF; i += THREADS)
        if (thread < THREADS) angles[i] = p.angles[(size_t)(max(contexts[i / HALF], 1) - 1) * HALF + i % HALF];
    __syncthreads();

    // This block's share of its KV head's tiles, all sequences end to end.
    int share = max((starts[ROWS] + WORKERS - 1) / WORKERS, 1);
    int begin = min(block % WORKERS * share, starts[ROWS]), end = min(begin + share, starts[ROWS]);
    const int vocab_share = (p.vocab + BLOCKS - 1) / BLOCKS;

    if (warp == WARPS) {  // streams
        u64 policy;
        asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
        const int kv_head = block / WORKERS, vocab_begin = block * vocab_share, vocab_rows = max(0, min(vocab_share, p.vocab - vocab_begin));
        int issued = 0, pace = p.pace;
        int last = clock();
        auto next_stage = [&]() {
            const int s = issued % STAGES, round = issued / STAGES;
            if (round) barrier_wait(vacant + 8 * s, (round - 1) & 1);
            if (issued >= p.in_flight) barrier_wait(full + 8 * ((issued - p.in_flight) % STAGES), ((issued - p.in_flight) / STAGES) & 1);
            issued++;
            return s;
        };
        auto await_pace = [&]() {
            if (pace == 0) return;
            while (clock() - last < pace) {}
            last = clock();
        };
        // Rows of PIECE numbers, `pitch` numbers apart.
        auto rows = [&](const bf16* from, int count, int pitch) {
            const int s = next_stage();
            if (lane == 0) barrier_expect(full + 8 * s, count * PIECE * 2);
            else barrier_arrive(full + 8 * s);
            __syncwarp();
            for (int half = 0; half < 2; half++) {
                await_pace();
                if (lane / 4 == half && lane < count) bulk_copy(ring + s * STAGE + lane * UNIT_STRIDE, from + (size_t)lane * pitch, PIECE * 2, full + 8 * s, policy);
            }
        };
        int known = begin + lane < end ? p.tiles[begin + lane] : 0;
        const bool is_short = end - begin <= 32;
        auto tile_rows = [&](const bf16* layer_pool, int s, int k, int at) {
            await_pace();
            if (!is_short && (at & 31) == 0) known = begin + at + lane < end ? p.tiles[begin + at + lane] : 0;
            const int tile = __shfl_sync(~0u, known, at & 31);
            const bf16* from = layer_pool + ((size_t)tile * KV_HEADS + kv_head) * 2 * (TILE * HEAD_DIM) + lane * 8;
            const u32 to = ring + s * STAGE + k * KV_BYTES + lane / CHUNKS * KV_STRIDE + lane % CHUNKS * 16;
#pragma unroll
            for (int i = 0; i < TILE; i++) copy16(to + i * (32 / CHUNKS) * KV_STRIDE, from + i * 256);
        };
        WholeLayer next = p.layers[0];
        for (int l = 0; l < p.layer_count; l++) {
            const WholeLayer layer = next;
            if (l + 1 < p.layer_count) next = p.layers[l + 1];
            for (int i = 0; i < QKV_ROWS; i += UNITS) rows(layer.qkv + (size_t)(block * QKV_ROWS + i) * HIDDEN, UNITS, HIDDEN);
            const bf16* layer_pool = p.pool + (size_t)l * p.pool_layer;
            for (int seq = 0; seq < ROWS; seq++) {
                const int from = max(begin, starts[seq]), past = min(end, starts[seq + 1]);
                for (int t = from; t < past; t += 2) {
                    const int s = next_stage();
                    for (int k = 0; k < min(2, past - t); k++) tile_rows(layer_pool, s, k, t + k - begin);
                    arrive_when_copied(full + 8 * s);
                }
            }
            for (int i = 0; i < ATTENDED; i += PIECE) rows(layer.o + (size_t)block * OUT_ROWS * ATTENDED + i, UNITS, ATTENDED);
            for (int i = 0; i < FFN_ROWS; i += UNITS) rows(layer.gate_up + (size_t)(block * FFN_ROWS + i) * HIDDEN, UNITS, HIDDEN);
            for (int i = 0; i < FFN_ROWS; i += UNITS) rows(layer.gate_up + (size_t)(FFN + block * FFN_ROWS + i) * HIDDEN, UNITS, HIDDEN);
            for (int i = 0; i < FFN; i += PIECE) rows(layer.down + (size_t)block * OUT_ROWS * FFN + i, UNITS, FFN);
        }
        pace = 0;
        for (int i = 0; i < vocab_rows; i += UNITS) rows(p.head + (size_t)(vocab_begin + i) * HIDDEN, min(UNITS, vocab_rows - i), HIDDEN);
        return;
    }

    // ---- the warps that multiply
    int used = 0;  // stages taken so far
    auto await_stage = [&](int i) { barrier_wait(full + 8 * (i % STAGES), (i / STAGES) & 1); };
    auto release_stage = [&](int i) {
        __syncwarp();
        if (lane == 0) barrier_arrive(vacant + 8 * (i % STAGES));
    };
    // Looking for what others send before it can be there only loads the second-level cache.
    int sent = clock();
    auto has_sent = [&]() { sent = clock(); };
    auto be_patient = [&]() {
        while (clock() - sent < p.patience) {}
    };
    const int m = lane >> 2, q = lane & 3;
    // This lane's activations of a piece of the rows' columns: row m, 16 bytes at every 64.
    auto take_piece = [&](int pitch, int piece, uint4 (&x)[4]) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            x[j] = make_uint4(0, 0, 0, 0);
            if (m < ROWS) x[j] = *(const uint4*)(activations + m * pitch + piece * PIECE * 2 + (warp * 16 + j * 4 + q) * 16);
        }
    };
    auto leave_product = [&](int unit, const float (&sums)[2]) {
        if (m < ROWS) {
            products[((unit + 2 * q) * ROWS + m) * (WARPS + 1) + warp] = sums[0];
            products[((unit + 2 * q + 1) * ROWS + m) * (WARPS + 1) + warp] = sums[1];
        }
    };
    // sums[m][2q, 2q + 1] += activations of row m times a stage's rows 2q and 2q + 1, over this warp's columns; N stages,
    // so that all their loads are on their way together. `activation(n)` has the piece for the n-th ready in x.
    auto multiply_stages = [&](int first, uint4 (&x)[4], auto& sums, auto activation) {
        constexpr int N = sizeof(sums) / sizeof(sums[0]);
        uint4 w[N][4];
#pragma unroll
        for (int n = 0; n < N; n++) {
            await_stage(first + n);
            const unsigned char* stage = shared + ((first + n) % STAGES) * STAGE + m * UNIT_STRIDE + (warp * 16 + q) * 16;
#pragma unroll
            for (int j = 0; j < 4; j++) w[n][j] = *(const uint4*)(stage + j * 64);
        }
#pragma unroll
        for (int n = 0; n < N; n++) {
            activation(n);
            float other[2] = {};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                multiply_upper(sums[n], x[j].x, x[j].y, w[n][j].x, w[n][j].y);
                multiply_upper(other, x[j].z, x[j].w, w[n][j].z, w[n][j].w);
            }
            sums[n][0] += other[0], sums[n][1] += other[1];
        }
        __syncwarp();
        if (lane == 0)
#pragma unroll
            for (int n = 0; n < N; n++) barrier_arrive(vacant + 8 * ((first + n) % STAGES));
    };
    // Products of `count` stages with the same activations, N at a time.
    auto multiply_units = [&](int count, uint4 (&x)[4], auto at_once) {
        constexpr int N = sizeof(at_once) / sizeof(int);
#pragma unroll
        for (int i = 0; i < count; i += N) {
            float sums[N][2] = {};
            multiply_stages(used + i, x, sums, [](int) {});
#pragma unroll
            for (int n = 0; n < N; n++) leave_product((i + n) * UNITS, sums[n]);
        }
        used += count;
    };
    // One stage of units whose columns are several pieces, one after another.
    auto multiply_pieces = [&](int pitch, auto& sums) {
        constexpr int N = sizeof(sums) / sizeof(sums[0]);
        uint4 x[4];
        multiply_stages(used, x, sums, [&](int n) { take_piece(pitch, n, x); });
        used += N;
#pragma unroll
        for (int n = 1; n < N; n++) sums[0][0] += sums[n][0], sums[0][1] += sums[n][1];
        leave_product(0, sums[0]);
    };
    auto product = [&](int unit, int row) {
        float sum = 0.f;
#pragma unroll
        for (int i = 0; i < WARPS; i++) sum += products[(unit * ROWS + row) * (WARPS + 1) + i];
        return sum;
    };
    auto inverse_of = [&](int row) {
        return rsqrtf((squares[row * 4] + squares[row * 4 + 1] + squares[row * 4 + 2] + squares[row * 4 + 3]) * (1.f / HIDDEN) + NORM_EPS);
    };
    constexpr int NARROW_PITCH = HIDDEN * 2 + 64, ATTENDED_PITCH = ATTENDED * 2 + 64, FFN_PITCH = FFN * 2 + 64;
    // The residual, times the norm's weights, into place; its squares.
    auto take_residual = [&](const u32* from, const uint4& gain_words) {
        constexpr int PIECES = HIDDEN / 8, EACH = (ROWS * PIECES + THREADS - 1) / THREADS;
        uint4 v[EACH];
        receive(from, thread, ROWS * PIECES, v);
        float gain[8];
        unpack(gain_words, gain);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int at = thread + i * THREADS, row = at / PIECES;
            if (row >= ROWS) continue;
            float x[8], square = 0.f;
            unpack(v[i], x);
#pragma unroll
            for (int k = 0; k < 8; k++) square += x[k] * x[k], x[k] *= gain[k];
            *(uint4*)(activations + row * NARROW_PITCH + at % PIECES * 16) = pack8(x);
            square = warp_sum(square);
            if (lane == 0) squares[row * 4 + (warp & 3)] = square;
        }
        meet();
    };
    auto gain_at = [&](const bf16* weight) { return stream16(weight + thread % (HIDDEN / 8) * 8); };

    // This thread's number of the residual: row thread / 8, column thread % 8 of the block's.
    float residual = widen(p.residual[min(thread / OUT_ROWS, ROWS - 1) * HIDDEN + block * OUT_ROWS + thread % OUT_ROWS]);
    auto send_residual = [&](u32* to) {
        const int my_row = min(thread / OUT_ROWS, ROWS - 1), my_column = thread % OUT_ROWS;
        residual += product(my_column, my_row);
        const float right = __shfl_down_sync(~0u, residual, 1);
        if (thread < ROWS * OUT_ROWS && !(my_column & 1)) send(to + (my_row * HIDDEN + block * OUT_ROWS + my_column) / 2, pack(residual, right));
    };
    // Where this block adds parts of attention: 16 * ROWS numbers of one head of one sequence.
    constexpr int COMBINE = 16 * ROWS;
    auto added_at = [&]() {
        const int added = COMBINE * (block % WORKERS);
        return added / (GROUP * HEAD_DIM) * ATTENDED + block / WORKERS * GROUP * HEAD_DIM + added % (GROUP * HEAD_DIM);
    };

    uint4 gain = gain_at(p.layers[0].attention_norm);
#pragma unroll 1
    for (int l = 0; l < p.layer_count; l++) {
        // Addresses are made anew in each layer: kept over the loop they would be spilled.
        asm volatile("" : "+r"(thread), "+r"(block), "+r"(lane), "+r"(warp), "+r"(share), "+r"(begin), "+r"(end));
        const int kv_head = block / WORKERS, worker = block % WORKERS;
        u32* here = p.exchange + ((p.turn + l) & 1 ? At::WORDS : 0);
        u32* before = p.exchange + ((p.turn + l) & 1 ? 0 : At::WORDS);
        uint4 x[4];

        // 1. RMSNorm and q, k, v
        if (l > 0) be_patient();
        take_residual(l == 0 ? (const u32*)p.residual : before + At::RESIDUAL_AT, gain);
        const Raw q_gain = load_weight(p.layers[l].q_norm, lane), k_gain = load_weight(p.layers[l].k_norm, lane);
        gain = gain_at(p.layers[l].ffn_norm);
        take_piece(NARROW_PITCH, 0, x);
        struct { int n[2]; } two = {};
        multiply_units(QKV_ROWS / UNITS, x, two);
        meet();
        if (warp < ROWS) {
            const float mine = product(lane, warp) * inverse_of(warp), right = __shfl_down_sync(~0u, mine, 1);
            if (!(lane & 1)) send(here + At::QKV_AT + (warp * QKV + block * QKV_ROWS + lane) / 2, pack(mine, right));
        }
        has_sent();

        // 2. Attention over this block's tiles
        be_patient();
        for (int i = thread; i < ROWS * 64; i += THREADS) {
            const int seq = i / 64, piece = i % 64, from = max(begin, starts[seq]), past = min(end, starts[seq + 1]);
            if (from >= past || (piece >= 32 && past != starts[seq + 1])) continue;
            const int column = piece < 32   ? kv_head * GROUP * HEAD_DIM + piece * 8
                               : piece < 48 ? (HEADS + kv_head) * HEAD_DIM + (piece - 32) * 8
                                            : (HEADS + KV_HEADS + kv_head) * HEAD_DIM + (piece - 48) * 8;
            uint4 v[1];
            receive(here + At::QKV_AT + (seq * QKV + column) / 2, 0, 1, v);
            *(uint4*)(raw + seq * 4 * HEAD_DIM + piece * 8) = v[0];
        }
        meet();
        bf16* layer_pool = p.pool + (size_t)l * p.pool_layer;
        for (int i = warp; i < ROWS * 3; i += WARPS) {
            const int seq = i / 3, head = i % 3, from = max(begin, starts[seq]), past = min(end, starts[seq + 1]);
            if (from >= past || (head == 2 && past != starts[seq + 1])) continue;
            bf16* row = raw + (seq * 4 + head) * HEAD_DIM;
            float number[2][PER_LANE];
            float2 turn[PER_LANE];
#pragma unroll
            for (int k = 0; k < PER_LANE; k++) turn[k] = angles[seq * HALF + lane * PER_LANE + k];
            expand(load_raw(row, lane), number);
            norm_and_rotate(number, head < 2 ? q_gain : k_gain, turn);
            store_head(row, lane, number);
            if (head == 2) {
                const int context = contexts[seq], tile = p.tiles[past - 1];
                bf16* to = layer_pool + ((size_t)tile * KV_HEADS + kv_head) * 2 * (TILE * HEAD_DIM) + (context - 1) % TILE * HEAD_DIM;
                store_head(to, lane, number);
                expand(load_raw(row + HEAD_DIM, lane), number);
                store_head(to + TILE * HEAD_DIM, lane, number);
            }
        }
        meet();
        for (int seq = 0; seq < ROWS; seq++) {
            const int from = max(begin, starts[seq]), past = min(end, starts[seq + 1]), count = past - from;
            if (count <= 0) continue;
            u32 query[HEAD_DIM / 16][2];
            float sums[HEAD_DIM / 8][2] = {}, top = LOWEST, weight_sum = 0.f;
#pragma unroll
            for (int s = 0; s < HEAD_DIM / 16; s++) {
                const bf16* at = raw + (seq * 4 + m) * HEAD_DIM + s * 16 + 2 * q;
                query[s][0] = m < GROUP ? *(const u32*)at : 0u;
                query[s][1] = m < GROUP ? *(const u32*)(at + 8) : 0u;
            }
            const int matrix = lane >> 3, within = lane & 7;
            const u32 my_key = ((matrix >> 1) * 8 + within) * KV_STRIDE + (matrix & 1) * 16;
            const u32 my_value = (TILE + (matrix & 1) * 8 + within) * KV_STRIDE + (matrix >> 1) * 16;
#pragma unroll 1
            for (int pair = 0; 2 * pair < count; pair++) {
                await_stage(used);
                const int mine = 2 * pair + ((warp - 2 * pair) & (WARPS - 1));  // the tile among the next eight that is this warp's
                if (mine < 2 * pair + 2 && mine < count) {
                    const u32 stage_at = (used % STAGES) * STAGE + (mine & 1) * KV_BYTES, tile_address = ring + stage_at;
                    const bool is_last = from + mine == starts[seq + 1] - 1;
                    const int context = contexts[seq];
                    if (is_last) {
                        unsigned char* row = shared + stage_at + (context - 1) % TILE * KV_STRIDE + lane * 8;
                        *(uint2*)row = *(const uint2*)(raw + (seq * 4 + 2) * HEAD_DIM + lane * 4);
                        *(uint2*)(row + TILE * KV_STRIDE) = *(const uint2*)(raw + (seq * 4 + 3) * HEAD_DIM + lane * 4);
                        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
                        __syncwarp();
                    }
                    float score[2][2][2] = {};
#pragma unroll
                    for (int s = 0; s < HEAD_DIM / 16; s++) {
                        u32 b[4];
                        load_matrices(b, tile_address + my_key + s * 32);
                        multiply_upper(score[s & 1][0], query[s][0], query[s][1], b[0], b[1]);
                        multiply_upper(score[s & 1][1], query[s][0], query[s][1], b[2], b[3]);
                    }
                    float weight[2][2];
#pragma unroll
                    for (int e = 0; e < 2; e++)
#pragma unroll
                        for (int i = 0; i < 2; i++) {
                            weight[e][i] = (score[0][e][i] + score[1][e][i]) * p.scale;
                            if (is_last && (from + mine - starts[seq]) * TILE + e * 8 + 2 * q + i >= context) weight[e][i] = LOWEST;
                        }
                    float higher = fmaxf(fmaxf(weight[0][0], weight[0][1]), fmaxf(weight[1][0], weight[1][1]));
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
                            weight[e][i] = power_of_two(weight[e][i] - top);
                            weight_sum += weight[e][i];
                        }
                    const u32 a0 = pack(weight[0][0], weight[0][1]), a2 = pack(weight[1][0], weight[1][1]);
#pragma unroll
                    for (int n = 0; n < HEAD_DIM / 8; n++) sums[n][0] *= shrink, sums[n][1] *= shrink;
#pragma unroll
                    for (int n = 0; n < HEAD_DIM / 8; n += 2) {
                        u32 b[4];
                        load_matrices_transposed(b, tile_address + my_value + n * 16);
                        multiply_upper(sums[n], a0, a2, b[0], b[1]);
                        multiply_upper(sums[n + 1], a0, a2, b[2], b[3]);
                    }
                }
                release_stage(used);
                used++;
            }
            weight_sum += __shfl_xor_sync(~0u, weight_sum, 1);
            weight_sum += __shfl_xor_sync(~0u, weight_sum, 2);
            float* greatest_of_warps = sums_of_warps + WARPS * GROUP * HEAD_DIM;
            if (m < GROUP && warp < count) {
#pragma unroll
                for (int n = 0; n < HEAD_DIM / 8; n++)
                    *(float2*)(sums_of_warps + (warp * GROUP + m) * HEAD_DIM + n * 8 + 2 * q) = make_float2(sums[n][0], sums[n][1]);
                if (q == 0) *(float2*)(greatest_of_warps + (warp * GROUP + m) * 2) = make_float2(top, weight_sum);
            }
            meet();
            {
                const int head = thread / HEAD_DIM, warps = min(WARPS, count);
                float most = LOWEST, sum = 0.f, total = 0.f;
                for (int w = 0; w < warps; w++) most = fmaxf(most, greatest_of_warps[(w * GROUP + head) * 2]);
                for (int w = 0; w < warps; w++) {
                    const float factor = power_of_two(greatest_of_warps[(w * GROUP + head) * 2] - most);
                    total += factor * greatest_of_warps[(w * GROUP + head) * 2 + 1];
                    sum += factor * sums_of_warps[(w * GROUP + head) * HEAD_DIM + thread % HEAD_DIM];
                }
                u32* to = here + At::PARTS_AT + ((kv_head * ROWS + seq) * WORKERS + worker) * PART;
                send(to + thread, __float_as_uint(sum));
                if (thread % HEAD_DIM == 0) {
                    send(to + GROUP * HEAD_DIM + head * 2, __float_as_uint(most));
                    send(to + GROUP * HEAD_DIM + head * 2 + 1, __float_as_uint(total));
                }
            }
            if (ROWS > 1) meet();
        }
        has_sent();

        // 3. Parts of attention are added
        {
            const int added = COMBINE * worker, added_sequence = added / (GROUP * HEAD_DIM), added_head = added / HEAD_DIM % GROUP, added_from = added % HEAD_DIM;
            const bool any = starts[added_sequence + 1] > starts[added_sequence];
            const int first = starts[added_sequence] / share, parts = any ? (starts[added_sequence + 1] - 1) / share - first + 1 : 0;
            constexpr int PIECES = COMBINE / 4 + 1, PITCH = COMBINE + 4;
            be_patient();
            for (int i = thread; i < parts * PIECES; i += THREADS) {
                const int part = i / PIECES, piece = i % PIECES;
                const u32* from = here + At::PARTS_AT + ((kv_head * ROWS + added_sequence) * WORKERS + first + part) * PART;
                uint4 v[1];
                receive(from + (piece < COMBINE / 4 ? added_head * HEAD_DIM + added_from + piece * 4 : GROUP * HEAD_DIM), 0, 1, v);
                *(uint4*)(combined + part * PITCH + piece * 4) = v[0];
            }
            meet();
            if (warp * 32 < COMBINE) {
                const int at = min(thread, COMBINE - 1);
                const float* maxima = combined + COMBINE + added_head * 2;
                float most = LOWEST, sum = 0.f, total = 0.f;
                for (int i = 0; i < parts; i++) most = fmaxf(most, maxima[i * PITCH]);
                for (int i = 0; i < parts; i++) {
                    const float factor = power_of_two(maxima[i * PITCH] - most);
                    total += factor * maxima[i * PITCH + 1];
                    sum += factor * combined[i * PITCH + at];
                }
                const float mine = parts ? sum / total : 0.f, right = __shfl_down_sync(~0u, mine, 1);
                if (thread < COMBINE && !(thread & 1)) send(here + At::ATTENDED_AT + (added_at() + thread) / 2, pack(mine, right));
            }
            has_sent();
        }

        // 4. Output projection and residual
        {
            constexpr int PIECES = ATTENDED / 8, EACH = (ROWS * PIECES + THREADS - 1) / THREADS;
            uint4 v[EACH];
            be_patient();
            receive(here + At::ATTENDED_AT, thread, ROWS * PIECES, v);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int at = thread + i * THREADS;
                if (at < ROWS * PIECES) *(uint4*)(activations + at / PIECES * ATTENDED_PITCH + at % PIECES * 16) = v[i];
            }
            meet();
            float sums[ATTENDED / PIECE][2] = {};
            multiply_pieces(ATTENDED_PITCH, sums);
            meet();
            if (warp * 32 < ROWS * OUT_ROWS) send_residual(here + At::MIDDLE_AT);
            has_sent();
        }
        // Everybody is done with what this block sent in the layer before (see the top).
        {
            if (thread < ROWS * 4) empty4(before + At::QKV_AT + (thread / 4 * QKV + block * QKV_ROWS) / 2 + thread % 4 * 4);
            for (int seq = 0; seq < ROWS; seq++) {
                if (l > 0 && max(begin, starts[seq]) >= min(end, starts[seq + 1])) continue;
                if (thread < PART / 4) empty4(before + At::PARTS_AT + ((kv_head * ROWS + seq) * WORKERS + worker) * PART + thread * 4);
            }
            if (thread < COMBINE / 8) empty4(before + At::ATTENDED_AT + added_at() / 2 + thread * 4);
            if (thread < ROWS) {
                empty4(before + At::MIDDLE_AT + (thread * HIDDEN + block * OUT_ROWS) / 2);
                empty4(before + At::RESIDUAL_AT + (thread * HIDDEN + block * OUT_ROWS) / 2);
            }
            if (thread < ROWS * FFN_ROWS / 8) empty4(before + At::FFN_AT + (thread / (FFN_ROWS / 8) * FFN + block * FFN_ROWS) / 2 + thread % (FFN_ROWS / 8) * 4);
            // The warps that emptied. A release and no full fence: that would empty the first-level cache as well.
            if (warp <= PART / 4 / 32) asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(before + At::MIDDLE_AT + block * OUT_ROWS / 2), "r"(EMPTY) : "memory");
        }

        // 5. RMSNorm, gate and up, SiLU
        be_patient();
        take_residual(here + At::MIDDLE_AT, gain);
        if (l + 1 < p.layer_count) gain = gain_at(p.layers[l + 1].attention_norm);
        else gain = gain_at(p.norm);
        take_piece(NARROW_PITCH, 0, x);
        multiply_units(2 * FFN_ROWS / UNITS, x, two);
        meet();
        if (warp < ROWS) {
            const int column = min(lane, FFN_ROWS - 1);
            const float inverse = inverse_of(warp), gate = product(column, warp) * inverse, up = product(FFN_ROWS + column, warp) * inverse;
            const float mine = silu(gate) * up, right = __shfl_down_sync(~0u, mine, 1);
            if (lane < FFN_ROWS && !(lane & 1)) send(here + At::FFN_AT + (warp * FFN + block * FFN_ROWS + lane) / 2, pack(mine, right));
        }
        has_sent();

        // 6. Down and residual
        {
            constexpr int PIECES = FFN / 8, EACH = (ROWS * PIECES + THREADS - 1) / THREADS;
            uint4 v[EACH];
            be_patient();
            receive(here + At::FFN_AT, thread, ROWS * PIECES, v);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int at = thread + i * THREADS;
                if (at < ROWS * PIECES) *(uint4*)(activations + at / PIECES * FFN_PITCH + at % PIECES * 16) = v[i];
            }
            meet();
            float sums[FFN / PIECE][2] = {};
            multiply_pieces(FFN_PITCH, sums);
            meet();
            if (warp * 32 < ROWS * OUT_ROWS) send_residual(here + At::RESIDUAL_AT);
            has_sent();
        }
    }

    // Output projection: a warp takes a stage of its own, so that they need not meet.
    be_patient();
    take_residual(p.exchange + ((p.turn + p.layer_count - 1) & 1 ? At::WORDS : 0) + At::RESIDUAL_AT, gain);
    const float inverse = inverse_of(min(m, ROWS - 1));
    const int vocab_begin = block * vocab_share, vocab_rows = max(0, min(vocab_share, p.vocab - vocab_begin));
    float top = LOWEST;
    int at = 0;
    const int stages = (vocab_rows + UNITS - 1) / UNITS;
#pragma unroll 1
    for (int i = 0; i < stages; i++) {
        await_stage(used + i);
        if (i % WARPS == warp) {
            const unsigned char* stage = shared + ((used + i) % STAGES) * STAGE + m * UNIT_STRIDE + q * 16;
            const unsigned char* mine = activations + min(m, ROWS - 1) * NARROW_PITCH + q * 16;
            float sums[4][2] = {};
#pragma unroll 8
            for (int j = 0; j < PIECE / 32; j++) {
                const uint4 w = *(const uint4*)(stage + j * 64), a = *(const uint4*)(mine + j * 64);
                multiply_upper(sums[j & 1], a.x, a.y, w.x, w.y);
                multiply_upper(sums[2 + (j & 1)], a.z, a.w, w.z, w.w);
            }
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int row = i * UNITS + 2 * q + k;
                const float logit = (sums[0][k] + sums[1][k] + sums[2][k] + sums[3][k]) * inverse;
                if (m >= ROWS || row >= vocab_rows) continue;
                p.logits[(size_t)m * p.vocab + vocab_begin + row] = logit;
                if (logit > top) top = logit, at = vocab_begin + row;
            }
        }
        release_stage(used + i);
    }
    const u32 bits = __float_as_uint(top), order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    u64 mine = ((u64)order << 32) | (u32)~at;
#pragma unroll
    for (int o = 1; o < 4; o *= 2) {
        const u64 other = __shfl_xor_sync(~0u, mine, o);
        mine = other > mine ? other : mine;
    }
    if (q == 0 && m < ROWS) best_of_warps[warp * ROWS + m] = mine;
    meet();
    if (thread < ROWS) {
        for (int i = 0; i < WARPS; i++) mine = i == 0 || best_of_warps[i * ROWS + thread] > mine ? best_of_warps[i * ROWS + thread] : mine;
        atomicMax(p.best + thread, mine);
        __threadfence();
        if (atomicAdd(p.arrived + thread, 1u) == BLOCKS - 1) {
            p.made[thread] = ~(u32)atomicExch(p.best + thread, 0ull);
            p.arrived[thread] = 0;
        }
    }
}

#define WHOLE(rows) \
    extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) whole_step_##rows(const Whole p) { whole_step<rows>(p); }
WHOLE(1)
WHOLE(2)
WHOLE(4)
WHOLE(8)
#endif
