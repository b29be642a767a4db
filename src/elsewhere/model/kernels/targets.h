// BEGIN_TARGET(features) … END_TARGET: functions between them are compiled for processors that have these.
//
// DISPATCHED: the compiler can, and the caller must ask the processor before it calls them. ELSEWHERE_PLAIN: it shall not.

#pragma once

#define PRAGMA(tokens) _Pragma(#tokens)

#if defined(ELSEWHERE_PLAIN)
#elif defined(__x86_64__) && defined(__clang__)
#define DISPATCHED 1
#define BEGIN_TARGET(features) PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_TARGET PRAGMA(clang attribute pop)
#elif defined(__x86_64__) && defined(__GNUC__)
#define DISPATCHED 1
#define BEGIN_TARGET(features) PRAGMA(GCC push_options) PRAGMA(GCC target(features))
#define END_TARGET PRAGMA(GCC pop_options)
#endif
