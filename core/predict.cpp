#include "predict.h"

#include <vector>

#include "dense_part.h"
#include "softmax.h"

namespace luce {

void predict(const Features& x, const double* weights, const double* bias, int outputs, double* probabilities) {
    std::vector<double> z(outputs * TILE), by_row(x.rows * (outputs == 1 ? 1 : outputs));
    const DensePlan plan(x, outputs, false, weights);
    const std::unique_ptr<DensePart> part = plan.part();
    part->load(0, static_cast<int>(x.rows));
    part->forward(bias, z.data());
    if (outputs > 1) {
        for (Index i = 0; i < x.rows; ++i)
            for (int k = 0; k < outputs; ++k) by_row[i * outputs + k] = z[k * TILE + i];
        softmax<double>(Softmax::probabilities, by_row.data(), x.rows, outputs, 1, 1.0, probabilities, nullptr, 1);
        return;
    }
    for (const int second : {0, 1}) {
        for (Index i = 0; i < x.rows; ++i) by_row[i] = second ? z[i] : -z[i];
        std::vector<double> share(x.rows);
        sigmoid<double>(by_row.data(), x.rows, false, share.data(), 1);
        for (Index i = 0; i < x.rows; ++i) probabilities[2 * i + second] = share[i];
    }
}

}  // namespace luce
