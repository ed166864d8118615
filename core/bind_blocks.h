// Adds the softmax over blocks of classes to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_blocks(nanobind::module_& m);
