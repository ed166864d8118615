#include "text_scorer.h"

#include <algorithm>

#include "cross_entropy.h"
#include "parallel.h"
#include "softmax.h"

namespace luce {

namespace {
constexpr Index BLOCK = 256;  // texts
}

TextScorer::TextScorer(const Recipe& recipe, const std::uint32_t* buckets, const float* scale, Index grams,
                       const double* weights, const double* intercept, const double* factor, const double* shift,
                       int outputs)
    : recipe_(recipe),
      vocabulary_(buckets, grams),
      scale_(scale, scale + grams),
      weights_(weights),
      intercept_(intercept, intercept + outputs),
      factor_(factor, factor + outputs),
      shift_(shift, shift + outputs),
      outputs_(outputs) {}

void TextScorer::probabilities(const Texts& texts, double* out, int threads) const {
    const Index n = static_cast<Index>(texts.size());
    parallel_for((n + BLOCK - 1) / BLOCK, threads, [&](Index block) {
        const Index first = block * BLOCK, rows = std::min(n, first + BLOCK) - first;
        const Texts own(texts.begin() + first, texts.begin() + first + rows);
        const Weighed found = text_rows(own, recipe_, vocabulary_, scale_.data(), 1);
        Features x;
        x.rows = rows;
        x.sparse = {found.starts.data(), found.places.data(), found.values.data(), nullptr, rows, vocabulary_.size()};
        std::vector<double> z(static_cast<std::size_t>(outputs_ * rows));
        forward(x, weights_, intercept_.data(), outputs_, z.data(), rows, 1, false);
        double* p = out + first * classes();
        if (outputs_ > 1) {
            for (Index i = 0; i < rows; ++i) {
                double sum = 0.0;
                for (int k = 0; k < outputs_; ++k)
                    sum += p[i * outputs_ + k] = z[static_cast<std::size_t>(k * rows + i)];
                for (int k = 0; k < outputs_; ++k) {
                    double& logit = p[i * outputs_ + k];
                    logit = factor_[static_cast<std::size_t>(k)] * (logit - sum / outputs_) +
                            shift_[static_cast<std::size_t>(k)];
                }
            }
            softmax<double>(Softmax::probabilities, p, rows, outputs_, 1, 1.0, p, nullptr, 1);
            return;
        }
        for (double& logit : z) logit = factor_[0] * logit + shift_[0];
        std::vector<double> share(z.size());
        for (const int second : {1, 0}) {
            sigmoid<double>(z.data(), rows, false, share.data(), 1);
            for (Index i = 0; i < rows; ++i) {
                p[2 * i + second] = share[static_cast<std::size_t>(i)];
                z[static_cast<std::size_t>(i)] = -z[static_cast<std::size_t>(i)];
            }
        }
    });
}

}  // namespace luce
