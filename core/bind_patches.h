// Adds the functions of images to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_patches(nanobind::module_& m);
