// operator new that fails where it is told to, and counts what threads other than the caller's take; for test_memory.py.

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

namespace {
std::atomic<long> left{-1}, elsewhere_taken{0};
std::thread::id caller;

void* take(std::size_t size, std::size_t alignment) {
    if (std::this_thread::get_id() != caller) elsewhere_taken++;
    if (left >= 0 && left-- == 0) throw std::bad_alloc();
    if (void* memory = std::aligned_alloc(alignment, (size + alignment) / alignment * alignment)) return memory;
    throw std::bad_alloc();
}
}  // namespace

// Those of arrays too: the library's own would call its own operator new.
void* operator new(std::size_t size) { return take(size, 16); }
void* operator new[](std::size_t size) { return take(size, 16); }
void* operator new(std::size_t size, std::align_val_t alignment) { return take(size, (std::size_t)alignment); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return take(size, (std::size_t)alignment); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    try {
        return take(size, 16);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

extern "C" {
void fail_after(long taken) { caller = std::this_thread::get_id(), elsewhere_taken = 0, left = taken; }
int has_failed() { return left < 0; }
long taken_in_threads() { return elsewhere_taken; }
}
