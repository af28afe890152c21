// What a call that can fail returns: part of what embedders see, so it lies with their headers.
#pragma once

#include "include/thimble/result.h"
