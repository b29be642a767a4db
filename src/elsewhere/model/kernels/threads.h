// Tasks go in, all of them are done: threads take the next one in turn, each in a workspace of its own.
//
// The threads are those of torch's own team where it has one (GNU OpenMP). Threads beside it would have to wait for
// processors on which the team's idle ones spin: a training step of the demo's network took a third more.

#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#endif

// Calls `work` in up to `threads` threads, this one among them.
inline void call_together(int threads, const std::function<void()>& work) {
#if defined(__linux__)
    typedef void (*Parallel)(void (*)(void*), void*, unsigned, unsigned);
    static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    if (parallel && threads > 1) {
        const auto call = [](void* given) { (*static_cast<const std::function<void()>*>(given))(); };
        return parallel(call, const_cast<std::function<void()>*>(&work), threads, 0);
    }
#endif
    std::vector<std::thread> crew;
    for (int i = 1; i < threads; i++) {
        try {
            crew.emplace_back(std::cref(work));
        } catch (const std::exception&) {
            break;  // the system gives no more threads: the others take the work
        }
    }
    work();
    for (auto& one : crew) one.join();
}

// All memory is taken before the threads start, so that what is missing is an exception of the caller's: a task takes
// none, as an exception that leaves a thread ends the process. Should one arise all the same, the others finish and the
// caller gets std::bad_alloc.
template <class Workspace, class Job, class Task>
void share_out(const Job& job, int tasks, const Task& task) {
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (int i = 0; i < std::min(std::max(job.threads, 1), tasks); i++) workspaces.emplace_back(new Workspace(job));
    std::atomic<int> thread{0}, next{0};
    std::atomic<bool> failed{false};
    call_together((int)workspaces.size(), [&] {
        const int mine = thread.fetch_add(1);
        try {
            for (int number; (number = next.fetch_add(1)) < tasks;) task(*workspaces[mine], number);
        } catch (...) {
            failed = true;
        }
    });
    if (failed) throw std::bad_alloc();
}
