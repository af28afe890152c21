// The tests of images. This program is its own builder, as `thimble` is (pool/image/ensure.h).
#include <gtest/gtest.h>

#include <string_view>

#include "tools/image/builder.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "build-image") {
    return thimble::image::builder_main(std::vector<std::string>(argv + 2, argv + argc));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
