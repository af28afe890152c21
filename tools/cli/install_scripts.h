// `thimble image build --run-scripts`: what npm would have run on the host when it installed a
// package, run in a microVM.
#pragma once

#include "devices/result.h"
#include "pool/image/image.h"
#include "pool/image/request.h"
#include "pool/image/store.h"

namespace thimble::cli {

// The image with what the install scripts of its packages make; `image` itself, of `request`, when
// there are none. Starts a VM of it, says what the scripts write, and takes the guest's root file
// system as one stream of a limited size, which nobody but the jailed builder looks into.
Result<image::Image> run_install_scripts(const image::Store& store, image::Request request,
                                         const image::Image& image);

}  // namespace thimble::cli
