// Tasks go in, all of them are done: threads take the next one in turn, each in a workspace of its own.

#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

template <class Workspace, class Job, class Task>
void share_out(const Job& job, int tasks, const Task& task) {
    std::atomic<int> next{0};
    const auto work = [&](Workspace& own) {
        for (int number; (number = next.fetch_add(1)) < tasks;) task(own, number);
    };
    std::vector<std::unique_ptr<Workspace>> workspaces;
    for (int i = 0; i < std::min(job.threads, tasks); i++) workspaces.emplace_back(new Workspace(job));
    std::vector<std::thread> crew;
    for (size_t i = 1; i < workspaces.size(); i++) {
        try {
            crew.emplace_back(work, std::ref(*workspaces[i]));
        } catch (const std::exception&) {
            break;  // the system gives no more threads: the others take the work
        }
    }
    if (!workspaces.empty()) work(*workspaces[0]);
    for (auto& one : crew) one.join();
}
