#include "parallel.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace luce {
namespace {

// While it lives this thread rounds to nearest and keeps subnormal numbers, whatever the caller has set.
class PlainArithmetic {
#if defined(__x86_64__)
public:
    PlainArithmetic() : before_(_mm_getcsr()) {
        if ((before_ & MODES) != 0) _mm_setcsr(before_ & ~MODES);
    }
    ~PlainArithmetic() {
        if ((before_ & MODES) != 0) _mm_setcsr(before_);
    }

private:
    static constexpr unsigned MODES = 0xe040;  // flush to zero, rounding, denormals are zero
    unsigned before_;
#elif defined(__aarch64__)
public:
    PlainArithmetic() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
        set(before_ & ~std::uint64_t{0x01c00000});  // flush to zero, rounding
    }
    ~PlainArithmetic() { set(before_); }

private:
    static void set(std::uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
    std::uint64_t before_;
#else
public:
    PlainArithmetic() {}
#endif
};

// Before a thread goes to sleep it looks for so long whether what it waits for comes: the calls of a fit follow each
// other within some tens of microseconds, and to wake a thread that sleeps takes as long, on a virtual machine longer.
// Only where each thread has a core of its own, as else it would keep it from another.
constexpr std::chrono::microseconds PATIENCE{200};

template <class Come>
bool comes_soon(const Come& come) {
    const auto end = std::chrono::steady_clock::now() + PATIENCE;
    do {
        for (int i = 0; i < 64; ++i) {
            if (come()) return true;
#if defined(__x86_64__)
            _mm_pause();
#elif defined(__aarch64__)
            __asm__ volatile("yield");
#endif
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

// One call of parallel_for. Workers keep it alive through a shared_ptr, so that a late waker
// can never take a block of the next call. Each thread has a share of neighbouring blocks, the same in every call of
// the same size, so that it meets the data it has in its cache; when its share is done it helps with the others.
struct Job {
    struct alignas(64) Share {
        std::atomic<Index> next{0};
        Index end = 0;
    };

    const std::function<void(Index)>* body;
    std::vector<Share> shares;
    std::atomic<Index> left;
    std::mutex mutex;
    std::condition_variable done;
    std::exception_ptr error;

    Job(const std::function<void(Index)>* b, Index blocks, int threads) : body(b), shares(threads), left(blocks) {
        for (int t = 0; t < threads; ++t) {
            shares[t].next = blocks * t / threads;
            shares[t].end = blocks * (t + 1) / threads;
        }
    }

    void work(int me) {
        const int count = static_cast<int>(shares.size());
        for (int s = 0; s < count; ++s) {
            Share& share = shares[(me + s) % count];
            for (Index i = share.next.fetch_add(1); i < share.end; i = share.next.fetch_add(1)) run(i);
        }
    }

private:
    void run(Index i) {
        try {
            (*body)(i);
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            if (!error) error = std::current_exception();
        }
        if (left.fetch_sub(1) == 1) {
            std::lock_guard<std::mutex> lock(mutex);
            done.notify_all();
        }
    }
};

class Pool {
public:
    // Runs the job with up to `helpers` pool threads beside the caller.
    void run(const std::shared_ptr<Job>& job) {
        const int helpers = static_cast<int>(job->shares.size()) - 1;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (started_ < helpers) {
                std::thread([this, me = started_ + 1] { loop(me); }).detach();
                ++started_;
            }
            job_ = job;
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        job->work(0);
        if (started_ < cores_ && comes_soon([&] { return job->left.load() == 0; })) return;
        std::unique_lock<std::mutex> lock(job->mutex);
        job->done.wait(lock, [&] { return job->left.load() == 0; });
    }

    std::mutex& busy() { return busy_; }

private:
    void loop(int me) {
        const PlainArithmetic plain;  // a thread starts with the mode of the one that made it
        std::uint64_t seen = 0;
        for (;;) {
            std::shared_ptr<Job> job;
            if (me < cores_) comes_soon([&] { return generation_.load() != seen; });
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_ != seen; });
                seen = generation_;
                job = job_;
            }
            if (me < static_cast<int>(job->shares.size())) job->work(me);
        }
    }

    std::mutex busy_;   // held while a call uses the pool
    std::mutex mutex_;  // guards what follows
    std::condition_variable wake_;
    std::shared_ptr<Job> job_;
    std::atomic<std::uint64_t> generation_{0};
    int started_ = 0;
    const int cores_ = static_cast<int>(std::thread::hardware_concurrency());
};

// Leaked on purpose: its threads may outlive every static destructor. After a fork the child
// forgets the parent's pool, whose threads it does not have, and makes a new one when needed.
std::atomic<Pool*> the_pool{nullptr};

void forget_pool() { the_pool.store(nullptr); }

Pool& pool() {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    Pool* p = the_pool.load();
    if (p == nullptr) {
        Pool* fresh = new Pool;
        if (the_pool.compare_exchange_strong(p, fresh)) return *fresh;
        delete fresh;
    }
    return *p;
}

thread_local bool inside = false;

void run_alone(Index blocks, const std::function<void(Index)>& body) {
    for (Index i = 0; i < blocks; ++i) body(i);
}

}  // namespace

void parallel_for(Index blocks, int threads, const std::function<void(Index)>& body) {
    const PlainArithmetic plain;
    if (threads <= 1 || blocks <= 1 || inside) return run_alone(blocks, body);
    Pool& p = pool();
    std::unique_lock<std::mutex> busy(p.busy(), std::try_to_lock);
    if (!busy.owns_lock()) return run_alone(blocks, body);
    const std::function<void(Index)> marked = [&](Index i) {
        inside = true;
        try {
            body(i);
        } catch (...) {
            inside = false;
            throw;
        }
        inside = false;
    };
    auto job = std::make_shared<Job>(&marked, blocks, static_cast<int>(blocks < threads ? blocks : threads));
    p.run(job);
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace luce
