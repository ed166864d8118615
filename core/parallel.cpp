#include "parallel.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace luce {
namespace {

// One call of parallel_for. Workers keep it alive through a shared_ptr, so that a late waker
// can never take a block of the next call.
struct Job {
    const std::function<void(Index)>* body;
    Index blocks;
    std::atomic<Index> next{0};
    std::atomic<Index> left;
    std::atomic<int> seats;  // how many more workers may join
    std::mutex mutex;
    std::condition_variable done;
    std::exception_ptr error;

    Job(const std::function<void(Index)>* b, Index n, int s) : body(b), blocks(n), left(n), seats(s) {}

    void work() {
        for (Index i = next.fetch_add(1); i < blocks; i = next.fetch_add(1)) {
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
    }
};

class Pool {
public:
    // Runs the job with up to `helpers` pool threads beside the caller.
    void run(const std::shared_ptr<Job>& job, int helpers) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (started_ < helpers) {
                std::thread([this] { loop(); }).detach();
                ++started_;
            }
            job_ = job;
            ++generation_;
        }
        wake_.notify_all();
        job->work();
        std::unique_lock<std::mutex> lock(job->mutex);
        job->done.wait(lock, [&] { return job->left.load() == 0; });
    }

    std::mutex& busy() { return busy_; }

private:
    void loop() {
        std::uint64_t seen = 0;
        for (;;) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_ != seen; });
                seen = generation_;
                job = job_;
            }
            if (job->seats.fetch_sub(1) > 0) job->work();
        }
    }

    std::mutex busy_;   // held while a call uses the pool
    std::mutex mutex_;  // guards what follows
    std::condition_variable wake_;
    std::shared_ptr<Job> job_;
    std::uint64_t generation_ = 0;
    int started_ = 0;
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
    if (threads <= 1 || blocks <= 1 || inside) return run_alone(blocks, body);
    Pool& p = pool();
    std::unique_lock<std::mutex> busy(p.busy(), std::try_to_lock);
    if (!busy.owns_lock()) return run_alone(blocks, body);
    const int helpers = static_cast<int>(blocks < threads ? blocks : threads) - 1;
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
    auto job = std::make_shared<Job>(&marked, blocks, helpers);
    p.run(job, helpers);
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace luce
