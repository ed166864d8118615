// Adds the reader of JSON rows to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_json(nanobind::module_& m);
