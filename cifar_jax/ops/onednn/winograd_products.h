// Matrix products of a few rows by panels of columns, for one instruction set: see
// winograd_kernels.h.

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// The transforms magnify rounding errors, so sums are taken in parts of this many terms.
constexpr int64_t kPart = 32;

// c[r][j] = (or +=, if `add`) sum over k of a[r * a_row + k * a_step] * b[k * b_step + j], for R rows
// and N vectors of columns, whose partial sums stay in registers.
template <int R, int N>
__attribute__((always_inline)) inline void product_tile(int64_t inner, const float* a,
                                                        int64_t a_row, int64_t a_step,
                                                        const float* b, int64_t b_step, float* c,
                                                        int64_t c_row, bool add) {
  for (; inner > 0; inner -= kPart, add = true) {
    Vector sum[R][N] = {};
    for (int64_t k = std::min(inner, kPart); k > 0; --k, a += a_step, b += b_step) {
      Vector along[N];
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) along[n] = load(b + n * LANES);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
        for (int n = 0; n < N; ++n) sum[r][n] += a[r * a_row] * along[n];
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) {
        float* const to = c + r * c_row + n * LANES;
        store(to, add ? load(to) + sum[r][n] : sum[r][n]);
      }
    }
  }
}

// The same for any number of rows: R at a time, then the rest in halves of R.
template <int R, int N>
void product_rows(int64_t rows, int64_t inner, const float* a, int64_t a_row, int64_t a_step,
                  const float* b, int64_t b_step, float* c, int64_t c_row, bool add) {
  for (; rows >= R; rows -= R, a += R * a_row, c += R * c_row) {
    product_tile<R, N>(inner, a, a_row, a_step, b, b_step, c, c_row, add);
  }
  if constexpr (R > 1) {
    product_rows<R / 2, N>(rows, inner, a, a_row, a_step, b, b_step, c, c_row, add);
  }
}

// The number of columns that a product computes at a time.
inline int64_t panel(int64_t columns) {
  for (int64_t vectors : {3, 2}) {
    if (columns % (vectors * LANES) == 0) return vectors * LANES;
  }
  return LANES;
}

// c = (or +=) a b for any multiple of LANES columns. The rows of b have `columns` values, or, if
// `packed`, b consists of panels, one after the other.
inline void product(int64_t rows, int64_t inner, int64_t columns, const float* a, int64_t a_row,
                    int64_t a_step, const float* b, bool packed, float* c, bool add) {
  // As many sums as registers allow: 12 of AVX2's 16, 24 of AVX-512's 32.
  constexpr int kSums = LANES == 16 ? 24 : 12;
  const int64_t width = panel(columns), b_step = packed ? width : columns;
  const auto rows_of = width == 3 * LANES   ? product_rows<kSums / 3, 3>
                       : width == 2 * LANES ? product_rows<kSums / 2, 2>
                                            : product_rows<12, 1>;
  for (int64_t j = 0; j < columns; j += width) {
    rows_of(rows, inner, a, a_row, a_step, packed ? b + j * inner : b + j, b_step, c + j, columns,
            add);
  }
}
