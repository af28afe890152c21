// manifest.json: round trip, and refusal of everything that is not wholly sound.
#include "pool/image/manifest.h"

#include <gtest/gtest.h>

namespace thimble::image {
namespace {

Manifest sample() {
  Manifest manifest;
  manifest.name = "npm:x@1";
  manifest.rootfs_sha256 = std::string(64, 'a');
  manifest.rootfs_size = 4096;
  manifest.command = {"node", "/x.js"};
  manifest.commands = {{"x", {"node", "/x.js"}}};
  manifest.env = {{"PATH", "/bin"}};
  manifest.inputs_sha256 = std::string(64, 'b');
  return manifest;
}

TEST(ManifestTest, ComesBackAsItWasWritten) {
  const std::string text = manifest_to_json(sample());
  const Result<Manifest> read = manifest_from_json(text, "m");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(manifest_to_json(*read), text);
  EXPECT_EQ(read->command, sample().command);
  EXPECT_EQ(read->commands, sample().commands);
}

TEST(ManifestTest, EveryCutOfASoundManifestIsRefused) {
  const std::string text = manifest_to_json(sample());
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    EXPECT_FALSE(manifest_from_json(text.substr(0, size), "m")) << size;
  }
}

TEST(ManifestTest, WrongTypesAndValuesAreRefusedWithTheFilesName) {
  const nlohmann::json sound = nlohmann::json::parse(manifest_to_json(sample()));
  const std::pair<const char*, nlohmann::json> changes[] = {
      {"/format", 1},
      {"/format", "2"},
      {"/name", 7},
      {"/name", std::string("a\0b", 3)},
      {"/rootfs", nullptr},
      {"/rootfs/size", -1},
      {"/rootfs/size", "4096"},
      {"/rootfs/size", 1.5},
      {"/rootfs/sha256", "../../etc/passwd"},
      {"/rootfs/sha256", std::string(64, 'A')},
      {"/command", "node"},
      {"/command", {1, 2}},
      {"/commands", {{"x", "node"}}},
      {"/env", {{"PATH", 1}}},
      {"/env", nlohmann::json::array()},
      {"/workdir", "relative"},
      {"/inputs", 3},
      {"/inputs/sha256", "../inputs"},
  };
  for (const auto& [place, value] : changes) {
    nlohmann::json changed = sound;
    changed[nlohmann::json::json_pointer(place)] = value;
    const Result<Manifest> read = manifest_from_json(changed.dump(), "the-file");
    ASSERT_FALSE(read) << place << " = " << value;
    EXPECT_NE(read.error().message.find("the-file"), std::string::npos);
  }
  for (const char* text : {"", "null", "[]", "42", "{}", "{\"format\":2}", "\xff\xfe", "{\"a\":"}) {
    EXPECT_FALSE(manifest_from_json(text, "m")) << text;
  }
}

TEST(ManifestTest, DeeplyNestedJsonDoesNotEndTheProcess) {
  EXPECT_FALSE(manifest_from_json(std::string(100'000, '['), "m"));
}

}  // namespace
}  // namespace thimble::image
