// Which of the user's settings for npm the fetching step may know.
#include "tools/image/npm_settings.h"

#include <gtest/gtest.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

const char* no_variables(const char*) { return nullptr; }

Settings read(std::string_view text, const Variables& variables = no_variables) {
  Settings settings;
  add_npmrc(text, variables, settings);
  return settings;
}

TEST(NpmSettingsTest, RegistriesSignInsAndProxiesAreTaken) {
  const Settings settings = read(
      "; a comment\n# another\n\nregistry = https://r.example/npm/\n"
      "@scope:registry=https://s.example/\n//s.example/:_authToken=secret\n"
      "https-proxy=http://p:3128\nnoproxy=localhost\nstrict-ssl=false\r\n");
  EXPECT_EQ(settings.at("registry"), "https://r.example/npm/");
  EXPECT_EQ(settings.at("@scope:registry"), "https://s.example/");
  EXPECT_EQ(settings.at("//s.example/:_authToken"), "secret");
  EXPECT_EQ(settings.at("https-proxy"), "http://p:3128");
  EXPECT_EQ(settings.at("strict-ssl"), "false");
  EXPECT_EQ(settings.size(), 6U);
}

TEST(NpmSettingsTest, WhatStartsOrWritesSomethingIsNot) {
  EXPECT_EQ(read("ignore-scripts=false\nscript-shell=/bin/evil\ngit=/bin/evil\nprefix=/\n"
                 "cache=/root\nnode-options=--require=/x.js\nshell=x\neditor=x\nonload-script=x\n"
                 "allow-git=all\nallow-remote=all\nbin-links=true\nuserconfig=/x\nglobal=true\n"
                 "//host/:keyfile=/home/me/key\n@scope:other=x\n_authToken=everywhere\n=x\n"),
            Settings());
}

TEST(NpmSettingsTest, VariablesAndQuotesAreReadAsNpmDoes) {
  const Variables variables = [](const char* name) -> const char* {
    return std::string_view(name) == "TOKEN" ? "abc" : nullptr;
  };
  const Settings settings = read(
      "//h/:_authToken=${TOKEN}\n//i/:_authToken=${UNSET}\n//j/:_authToken=x${UNSET?}y\n"
      "ca=\"a\\nb\"\nregistry='https://r/'\nproxy=http://p ; why\nnoproxy=a\\;b\nbefore=${",
      variables);
  EXPECT_EQ(settings.at("//h/:_authToken"), "abc");
  EXPECT_EQ(settings.at("//i/:_authToken"), "${UNSET}");
  EXPECT_EQ(settings.at("//j/:_authToken"), "xy");
  EXPECT_EQ(settings.at("ca"), "a\nb");
  EXPECT_EQ(settings.at("registry"), "https://r/");
  EXPECT_EQ(settings.at("proxy"), "http://p");
  EXPECT_EQ(settings.at("noproxy"), "a;b");
}

TEST(NpmSettingsTest, AValueCannotBecomeAnotherSetting) {
  const Settings settings{{"registry", "https://r/\nscript-shell=/x"}};
  EXPECT_EQ(to_npmrc(settings), "registry=\"https://r/\\nscript-shell=/x\"\n");
  EXPECT_EQ(read(to_npmrc(settings)), settings);
}

TEST(NpmSettingsTest, AListStaysAList) {
  const Settings settings = read("ca[]=one\nca[]=\"two\\nlines\"\n");
  EXPECT_EQ(to_npmrc(settings), "ca[]=\"one\"\nca[]=\"two\\nlines\"\n");
}

TEST(NpmSettingsTest, TheEnvironmentNamesSettingsToo) {
  Settings settings{{"registry", "https://old/"}};
  add_npm_variables({"npm_config_registry=https://new/", "NPM_CONFIG_STRICT_SSL=false",
                     "npm_config_script_shell=/x", "npm_config_=x", "npm_config_proxy=",
                     "npm_config_//h/:_authToken=t", "HOME=/root", "npm_config_cache", ""},
                    settings);
  EXPECT_EQ(
      settings,
      (Settings{{"registry", "https://new/"}, {"strict-ssl", "false"}, {"//h/:_authToken", "t"}}));
}

TEST(NpmSettingsTest, CertificatesGoAlongByContent) {
  const Scratch scratch;
  const auto pem = scratch.add("pem", "certificate");
  const auto npmrc = scratch.add("npmrc", "cafile=" + pem.string() + "\n");
  ::setenv("npm_config_userconfig", npmrc.c_str(), 1);
  ::setenv("npm_config_globalconfig", "/nonexistent", 1);
  const NpmSettings settings = read_npm_settings();
  ::unsetenv("npm_config_userconfig");
  ::unsetenv("npm_config_globalconfig");
  bool content = false;
  for (const auto& [place, text] : settings.files) {
    content = content || text == "certificate";
    EXPECT_EQ(text.find(scratch.path().string()), std::string::npos) << place;
  }
  EXPECT_TRUE(content);
}

}  // namespace
}  // namespace thimble::image
