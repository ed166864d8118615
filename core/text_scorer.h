// Probabilities of texts at once, from the bytes on, for callers who wait for one text or have very many.
#pragma once
#include <vector>

#include "ngram.h"

namespace luce {

class TextScorer {
public:
    // weights: n-grams of the vocabulary x outputs, which have to outlive this; intercept, factor, shift: outputs; two
    // classes have one output. The logits z = x W + intercept, with mean 0 over several outputs, become factor z +
    // shift.
    TextScorer(const Recipe& recipe, const std::uint32_t* buckets, const float* scale, Index grams,
               const double* weights, const double* intercept, const double* factor, const double* shift, int outputs);

    // texts x classes; the same bits for a text alone and among others, on any number of threads.
    void probabilities(const Texts& texts, double* out, int threads) const;

    int classes() const { return outputs_ == 1 ? 2 : outputs_; }

private:
    Recipe recipe_;
    Vocabulary vocabulary_;
    std::vector<float> scale_;
    const double* weights_;
    std::vector<double> intercept_, factor_, shift_;
    int outputs_;
};

}  // namespace luce
