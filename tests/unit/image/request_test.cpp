// Package specifications and image names: what is taken, what is refused and how.
#include "pool/image/request.h"

#include <gtest/gtest.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

TEST(NpmSpecTest, SplitsNameAndVersionAtTheLastScopeAwareAt) {
  const struct {
    const char* text;
    const char* name;
    const char* range;
  } cases[] = {
      {"server", "server", "latest"},
      {"server@1.2.3", "server", "1.2.3"},
      {"@scope/name", "@scope/name", "latest"},
      {"@scope/name@^1", "@scope/name", "^1"},
      {"@scope/name@>=1.2 <2", "@scope/name", ">=1.2 <2"},
      {"a.b_c-d@next", "a.b_c-d", "next"},
      {"JSONStream@1.x || 2.x", "JSONStream", "1.x || 2.x"},
      {"pkg@1.0.0-beta.1+build", "pkg", "1.0.0-beta.1+build"},
  };
  for (const auto& c : cases) {
    const Result<NpmSpec> spec = parse_npm_spec(c.text);
    ASSERT_TRUE(spec) << c.text << ": " << spec.error().message;
    EXPECT_EQ(spec->name, c.name);
    EXPECT_EQ(spec->range, c.range);
  }
}

TEST(NpmSpecTest, RefusesWhatIsNoPlainPackageOfTheRegistry) {
  const std::string long_name(300, 'a');
  for (const std::string& text : {std::string(),
                                  std::string("../x"),
                                  std::string("./x"),
                                  std::string("/etc/passwd"),
                                  std::string("-rf"),
                                  std::string("--registry=http://evil"),
                                  std::string("@scope"),
                                  std::string("@/x"),
                                  std::string("@scope/"),
                                  std::string("@scope/-x"),
                                  std::string("@-s/x"),
                                  std::string(".hidden"),
                                  std::string("_x"),
                                  std::string("a b"),
                                  std::string("a;rm -rf ~"),
                                  std::string("a\nb"),
                                  std::string("a\0b", 3),
                                  std::string("name@"),
                                  std::string("name@-x"),
                                  std::string("name@git+ssh://git@host/x"),
                                  std::string("name@npm:other@1"),
                                  std::string("github:user/repo"),
                                  std::string("user/repo"),
                                  std::string("file:../x"),
                                  std::string("https://host/x.tgz"),
                                  std::string("name@../x"),
                                  std::string("name@1@2"),
                                  std::string("@a/b/c"),
                                  std::string("name@$(id)"),
                                  std::string("näme"),
                                  long_name}) {
    const Result<NpmSpec> spec = parse_npm_spec(text);
    EXPECT_FALSE(spec) << "took '" << text << "'";
    if (!spec) {
      EXPECT_EQ(spec.error().message.find('\n'), std::string::npos) << "more than one line";
    }
  }
}

TEST(NpmSpecTest, SaysThatGitIsNotSupportedAndWhatToDo) {
  const Result<NpmSpec> spec = parse_npm_spec("name@git+ssh://git@host/x");
  ASSERT_FALSE(spec);
  EXPECT_NE(spec.error().message.find("not git"), std::string::npos);
  EXPECT_NE(spec.error().message.find("thimble image build DIR"), std::string::npos);
}

TEST(NpmSpecTest, OnlyThreeNumbersAreOneVersionForEver) {
  for (const char* range : {"1.2.3", "0.0.1", "1.2.3-beta.1", "10.20.30-rc"}) {
    EXPECT_TRUE(is_exact({.name = "x", .range = range})) << range;
  }
  for (const char* range : {"latest", "next", "1", "1.2", "^1.2.3", "1.x", "*", ">=1.2.3", "..",
                            "1.2.", "1.2.3 - 2.0.0", "1.2.3 || 2.0.0", "v1.2.3.4"}) {
    EXPECT_FALSE(is_exact({.name = "x", .range = range})) << range;
  }
}

TEST(ImageRequestTest, ReadsTheImageOptionByItsForm) {
  EXPECT_EQ(request_image("npm:x@1", "/")->kind, Request::Kind::kNpm);
  EXPECT_EQ(request_image("node", "/")->kind, Request::Kind::kRecipe);
  EXPECT_EQ(request_image("mine", "/")->kind, Request::Kind::kNamed);
  EXPECT_EQ(request_image("x.erofs", "/w")->path, "/w/x.erofs");
  EXPECT_EQ(request_image("../x/root", "/w/d")->path, "/w/x/root");
  EXPECT_FALSE(request_image("", "/"));
  EXPECT_FALSE(request_image("npm:../x", "/"));
}

TEST(ImageRequestTest, TakesNoNameThatCouldBeAPathOrAnOption) {
  for (const char* name : {"", ".", "..", "-x", "a/b", "a b", ".hidden", "a\nb"}) {
    EXPECT_FALSE(check_image_name(name)) << name;
  }
  EXPECT_FALSE(check_image_name(std::string(65, 'a')));
  EXPECT_TRUE(check_image_name("My-image_1.0"));
}

TEST(ImageRequestTest, ADirectoryMustExistAndMayNotTakeARecipesName) {
  const Scratch scratch;
  EXPECT_FALSE(request_directory(scratch.path() / "none", "x"));
  EXPECT_FALSE(request_directory(scratch.path(), "node"));
  EXPECT_TRUE(request_directory(scratch.path(), "mine"));
}

}  // namespace
}  // namespace thimble::image
