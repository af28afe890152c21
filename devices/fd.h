// An owned file descriptor: part of what embedders see, so it lies with their headers.
#pragma once

#include "include/thimble/fd.h"
