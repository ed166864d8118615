// Adds what is done to sparse rows, and by rows, to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_sparse(nanobind::module_& m);
