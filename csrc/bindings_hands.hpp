#pragma once

#include <pybind11/pybind11.h>

namespace rt_hands {

// Adds the functions of bindings_hands.cpp to the module.
void bind_hands(pybind11::module_& m);

// And those of bindings_rtc.cpp.
void bind_rtc(pybind11::module_& m);

}  // namespace rt_hands
