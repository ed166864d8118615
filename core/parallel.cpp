#include "parallel.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

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

// Where a helper of the pool ran last. Linux wakes it there, also if its caller runs there now and another processor
// has nothing to do: then the two would share one, for tens of milliseconds, and the caller do all the work. All under
// the mutex of the pool.
class Seat {
public:
    explicit Seat(pthread_t thread) : thread_(thread) {}

    // By the helper, when it has woken.
    void sit() {
#if defined(__linux__)
        if (moved_ && !stays_) sched_setaffinity(0, sizeof allowed_, &allowed_);  // it may go anywhere again
        moved_ = false;
        processor_ = sched_getcpu();
#endif
    }

    // By the caller, before it wakes the helpers of these seats: a helper that ran last where the caller or another one
    // is wakes elsewhere, as far as this process may use more processors. It stays there where the threads need all of
    // them, for Linux would soon bring it back.
    static void spread(const std::vector<std::unique_ptr<Seat>>& seats, int helpers) {
#if defined(__linux__)
        std::uint64_t taken = bit(sched_getcpu());
        for (int h = 0; h < helpers; ++h) {
            Seat& seat = *seats[static_cast<std::size_t>(h)];
            if ((taken & bit(seat.processor_)) != 0 && !seat.move(taken, helpers)) return;
            taken |= bit(seat.processor_);
        }
#else
        (void)seats, (void)helpers;
#endif
    }

private:
#if defined(__linux__)
    static std::uint64_t bit(int cpu) { return cpu >= 0 && cpu < 64 ? std::uint64_t{1} << cpu : 0; }

    bool move(std::uint64_t taken, int helpers) {
        if (moved_) return true;  // it has yet to wake
        if (sched_getaffinity(0, sizeof allowed_, &allowed_) != 0) return false;
        int cpu = 0;
        while (cpu < 64 && (!CPU_ISSET(cpu, &allowed_) || (taken & bit(cpu)) != 0)) ++cpu;
        if (cpu == 64) return false;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        moved_ = pthread_setaffinity_np(thread_, sizeof one, &one) == 0;
        stays_ = CPU_COUNT(&allowed_) <= helpers + 1;
        if (moved_) processor_ = cpu;
        return moved_;
    }

    int processor_ = -1;
    bool moved_ = false, stays_ = false;
    cpu_set_t allowed_;
#endif
    pthread_t thread_;
};

class Pool {
public:
    // Runs the job with up to `helpers` pool threads beside the caller.
    void run(const std::shared_ptr<Job>& job) {
        const int helpers = static_cast<int>(job->shares.size()) - 1;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (started() < helpers) {
                std::thread helper([this, me = started() + 1] { loop(me); });
                seats_.push_back(std::make_unique<Seat>(helper.native_handle()));
                helper.detach();
            }
            if (helpers < cores_) Seat::spread(seats_, helpers);
            job_ = job;
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        job->work(0);
        if (helpers < cores_ && comes_soon([&] { return job->left.load() == 0; })) return;
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
                seats_[static_cast<std::size_t>(me) - 1]->sit();
                seen = generation_;
                job = job_;
            }
            if (me < static_cast<int>(job->shares.size())) job->work(me);
        }
    }

    int started() const { return static_cast<int>(seats_.size()); }

    std::mutex busy_;   // held while a call uses the pool
    std::mutex mutex_;  // guards what follows
    std::condition_variable wake_;
    std::shared_ptr<Job> job_;
    std::atomic<std::uint64_t> generation_{0};
    std::vector<std::unique_ptr<Seat>> seats_;  // of the helpers, which never end
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
