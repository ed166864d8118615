// Adds the functions of texts to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_text(nanobind::module_& m);
