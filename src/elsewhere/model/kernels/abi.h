// What Python is told of the structs that it fills in: library.py compares it when a library is loaded.

#pragma once

#include <cstddef>

// Goes up, with ABI of abi.py, when the arguments of a call or the meaning of a field change: a layout does not tell that.
#define ELSEWHERE_ABI 1

// A field of a struct, or a whole struct; a table of them ends with a null name.
struct Place {
    const char* name;
    int offset, size;
};

#define PLACE(type, field) {#type "." #field, (int)offsetof(type, field), (int)sizeof(type::field)}
#define WHOLE(type) {#type, 0, (int)sizeof(type)}
