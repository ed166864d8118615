// Stress of the thread pool and of what runs on it, for ThreadSanitizer (./dev check --sanitize): many callers at once,
// nested calls, exceptions, a fork in between. Exits with 1 if a result differs from that of one thread.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../core/parallel.h"
#include "../core/softmax.h"

using luce::Index;

namespace {

std::vector<float> logits(Index rows, Index classes) {
    std::vector<float> z(static_cast<std::size_t>(rows * classes));
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = std::sin(0.37f * static_cast<float>(i % 9973)) * 9.0f;
    return z;
}

bool same_bits(Index rows, Index classes) {
    const std::vector<float> z = logits(rows, classes);
    std::vector<float> alone(z.size()), shared(z.size());
    luce::softmax<float>(luce::Softmax::probabilities, z.data(), rows, classes, 1, 1.0, alone.data(), nullptr, 1);
    luce::softmax<float>(luce::Softmax::probabilities, z.data(), rows, classes, 1, 1.0, shared.data(), nullptr, 3);
    const std::vector<Index> labels(static_cast<std::size_t>(rows), classes - 1);
    std::vector<float> gradient(z.size());
    const auto loss = [&](int threads) {
        return luce::cross_entropy_of_logits<float>(z.data(), labels.data(), nullptr, 1.0, rows, classes,
                                                    gradient.data(), threads)
            .loss;
    };
    return alone == shared && loss(1) == loss(3);
}

bool passes_exceptions_on() {
    try {
        luce::parallel_for(100, 3, [](Index block) {
            if (block == 57) throw std::runtime_error("block 57");
        });
    } catch (const std::runtime_error&) {
        return true;
    }
    return false;
}

bool nested() {
    std::vector<Index> sums(64);
    luce::parallel_for(64, 3, [&](Index block) {
        std::vector<Index> inner(16);
        luce::parallel_for(16, 3, [&](Index i) { inner[static_cast<std::size_t>(i)] = i; });
        for (const Index i : inner) sums[static_cast<std::size_t>(block)] += i;
    });
    for (const Index s : sums)
        if (s != 120) return false;
    return true;
}

bool in_a_child() {
    const pid_t child = fork();
    if (child == 0) _exit(same_bits(40000, 3) ? 0 : 1);
    int status = 1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

int main() {
    bool good = same_bits(100000, 3) && same_bits(3000, 40) && same_bits(300, 1000) && in_a_child();
    std::vector<std::thread> callers;
    std::vector<char> results(4);
    for (std::size_t c = 0; c < results.size(); ++c)
        callers.emplace_back([&, c] {
            bool all = true;
            for (int i = 0; i < 20; ++i) all = all && same_bits(30000 + i, 3) && passes_exceptions_on() && nested();
            results[c] = all;
        });
    for (std::thread& t : callers) t.join();
    for (const char r : results) good = good && r != 0;
    std::puts(good ? "threads: all is well" : "threads: a result differs");
    return good ? 0 : 1;
}
