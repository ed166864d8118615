// Adds the network to the module; bind.cpp calls it.
#pragma once
#include <nanobind/nanobind.h>

void bind_network(nanobind::module_& m);
