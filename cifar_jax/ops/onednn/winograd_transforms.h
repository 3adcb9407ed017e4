// Winograd's transforms of one row or column (Lavin and Gray 2016, arXiv:1509.09308), for one
// instruction set: see winograd_kernels.h.
//
// Four outputs of a kernel with r taps need a patch of n = 3 + r inputs. They are a product of
// polynomials, evaluated at 0, at n / 2 - 1 pairs of points +-p, and at infinity. A point is a row
// of each matrix: G evaluates the weights, A the gradients for the outputs, and B^T d is what makes
// A^T [(G w) * (B^T d)] the outputs. Both signs of a pair share their even and odd powers.

// F(4, 3): the pairs are +-sqrt(1/2) and +-sqrt(2). With the textbook's +-1 and +-2 errors are three
// times as large.
struct ThreeTaps {
  static constexpr int kTaps = 3, kPairs = 2;
  static constexpr float kPoints[] = {0.70710678f, 1.41421356f};
  static constexpr float kSquares[] = {0.5f, 2.f};
};

// F(4, 5).
struct FiveTaps {
  static constexpr int kTaps = 5, kPairs = 3;
  static constexpr float kPoints[] = {0.5f, 1.f, 2.f};
  static constexpr float kSquares[] = {0.25f, 1.f, 4.f};
};

template <typename F>
constexpr int kPatch = 2 * F::kPairs + 2;

template <typename F>
constexpr int kProducts = kPatch<F> * kPatch<F>;

// The coefficients, from the lowest, of the product of u - p^2 over all pairs but `without`.
template <typename F>
struct Polynomial {
  float of[F::kPairs + 1] = {1.f};

  constexpr explicit Polynomial(int without = -1) {
    int degree = 0;
    for (int pair = 0; pair < F::kPairs; ++pair) {
      if (pair == without) continue;
      ++degree;
      for (int k = degree; k >= 0; --k) {
        of[k] = (k > 0 ? of[k - 1] : 0.f) - F::kSquares[pair] * of[k];
      }
    }
  }
};

// The divisor of both points of a pair: the product of the differences to all other points.
template <typename F>
constexpr float divisor(int pair) {
  float result = 2.f * F::kSquares[pair];
  for (int other = 0; other < F::kPairs; ++other) {
    if (other != pair) result *= F::kSquares[pair] - F::kSquares[other];
  }
  return result;
}

// The sum of coefficients[k] * values[2 * k], for `count` values.
__attribute__((always_inline)) inline Vector every_other(const float* coefficients, int count,
                                                         const Vector* values) {
  Vector sum = coefficients[0] * values[0];
#pragma GCC unroll 4
  for (int k = 1; k < count; ++k) sum += coefficients[k] * values[2 * k];
  return sum;
}

// B^T d.
template <typename F>
__attribute__((always_inline)) inline void of_inputs(const Vector* d, Vector* to) {
  constexpr Polynomial<F> all;
  to[0] = all.of[0] * every_other(all.of, F::kPairs + 1, d);  // all.of[0] is 1 or -1
#pragma GCC unroll 3
  for (int pair = 0; pair < F::kPairs; ++pair) {
    const Polynomial<F> others(pair);
    const Vector even = every_other(others.of, F::kPairs, d + 2);
    const Vector odd = F::kPoints[pair] * every_other(others.of, F::kPairs, d + 1);
    to[1 + 2 * pair] = even + odd;
    to[2 + 2 * pair] = even - odd;
  }
  to[kPatch<F> - 1] = every_other(all.of, F::kPairs + 1, d + 1);
}

// Evaluates a polynomial with `N` coefficients at all points, divided by `divisor` if `divided`:
// G w of the weights, A g of the gradients for the outputs.
template <typename F, int N, bool divided>
__attribute__((always_inline)) inline void evaluate(const Vector* values, Vector* to) {
  to[0] = values[0];
#pragma GCC unroll 3
  for (int pair = 0; pair < F::kPairs; ++pair) {
    const float scale = divided ? 1.f / divisor<F>(pair) : 1.f, square = F::kSquares[pair];
    const float powers[] = {scale, scale * square, scale * square * square};
    const Vector even = every_other(powers, (N + 1) / 2, values);
    const Vector odd = F::kPoints[pair] * every_other(powers, N / 2, values + 1);
    to[1 + 2 * pair] = even + odd;
    to[2 + 2 * pair] = even - odd;
  }
  to[kPatch<F> - 1] = values[N - 1];
}

// The transpose of `evaluate`: A^T m, the four outputs, and G^T p, the gradients for the weights.
template <typename F, int N, bool divided>
__attribute__((always_inline)) inline void combine(const Vector* values, Vector* to) {
  Vector even[F::kPairs], odd[F::kPairs];
#pragma GCC unroll 3
  for (int pair = 0; pair < F::kPairs; ++pair) {
    const float scale = divided ? 1.f / divisor<F>(pair) : 1.f;
    even[pair] = scale * (values[1 + 2 * pair] + values[2 + 2 * pair]);
    odd[pair] = scale * F::kPoints[pair] * (values[1 + 2 * pair] - values[2 + 2 * pair]);
  }
#pragma GCC unroll 5
  for (int k = 0; k < N; ++k) {
    Vector sum = k == 0 ? values[0] : k == N - 1 ? values[kPatch<F> - 1] : Vector{};
#pragma GCC unroll 3
    for (int pair = 0; pair < F::kPairs; ++pair) {
      float power = 1.f;
      for (int i = 0; i < k / 2; ++i) power *= F::kSquares[pair];
      sum += power * (k % 2 ? odd : even)[pair];
    }
    to[k] = sum;
  }
}
