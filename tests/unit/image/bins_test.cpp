// How commands of packages are started, and which cannot be.
#include "tools/image/bins.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/image/elf_file.h"
#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

// The argv in one line, or "no: " and the reason.
std::string start_of(const std::string& text, const std::string& name = "cli.js") {
  const Scratch package;
  package.add(name, text);
  const auto argv = command_of_bin(*Folder::open(package.path()), name, "/app/" + name);
  if (!argv) return "no: " + argv.error().message;
  std::string line;
  for (const std::string& word : *argv) line += (line.empty() ? "" : " ") + word;
  return line;
}

TEST(CommandOfBinTest, TheFirstLineNamesTheInterpreter) {
  EXPECT_EQ(start_of("#!/usr/bin/env node\n"), "node /app/cli.js");
  EXPECT_EQ(start_of("#!/usr/bin/env node\r\n"), "node /app/cli.js");
  EXPECT_EQ(start_of("#! /usr/bin/nodejs --no-warnings\n"), "node --no-warnings /app/cli.js");
  EXPECT_EQ(start_of("#!/usr/bin/env -S node --a -b\n"), "node --a -b /app/cli.js");
  EXPECT_EQ(start_of("#!/bin/sh\n", "run"), "/bin/sh /app/run");
  EXPECT_EQ(start_of("#!/usr/bin/env bash\nset -e", "run"), "/bin/bash /app/run");
}

TEST(CommandOfBinTest, EnvSetsVariables) {
  EXPECT_EQ(start_of("#!/usr/bin/env -S VAR=1 node\n"), "env VAR=1 node /app/cli.js");
  EXPECT_EQ(start_of("#!/usr/bin/env -SA=1 B=2 node --x\n"), "env A=1 B=2 node --x /app/cli.js");
  EXPECT_EQ(start_of("#!/usr/bin/env -S -i node\n"), "env -i node /app/cli.js");
}

TEST(CommandOfBinTest, WithoutSuchALineTheContentDecides) {
  EXPECT_EQ(start_of("console.log(1)"), "node /app/cli.js");
  EXPECT_EQ(start_of("export {}", "cli.mjs"), "node /app/cli.mjs");
  EXPECT_EQ(start_of("echo hi", "run"), "/bin/sh /app/run");
  EXPECT_EQ(start_of("", "run"), "/bin/sh /app/run");
  EXPECT_EQ(start_of(std::string("MZ\0\1", 4), "cli.exe"),
            "no: it is neither a script nor a program for Linux");
}

TEST(CommandOfBinTest, AProgramStartsItself) {
  EXPECT_EQ(start_of(ElfFile{}.bytes(), "server"), "/app/server");
  EXPECT_EQ(start_of(ElfFile{}.bytes(), "server.js"), "/app/server.js");
  EXPECT_EQ(start_of(ElfFile{.machine = EM_AARCH64}.bytes(), "server"),
            "no: it is a program for another kind of processor");
  EXPECT_EQ(start_of(ElfFile{.interpreter = "/lib/ld-musl-x86_64.so.1"}.bytes(), "server"),
            "no: it is a program for musl, which is not in a node image");
  EXPECT_EQ(start_of("\177ELF", "server"), "no: it is a damaged program");
}

TEST(CommandOfBinTest, OnlyTheHeadIsRead) {
  const Scratch package;
  for (const std::string& head : {std::string("#!/usr/bin/env node\n"), ElfFile{}.bytes()}) {
    const auto file = package.add("cli.js", head);
    std::filesystem::resize_file(file, std::uintmax_t{1} << 36);
    EXPECT_TRUE(command_of_bin(*Folder::open(package.path()), "cli.js", "/app/cli.js"));
  }
}

TEST(CommandOfBinTest, OthersAreRefusedWithTheReason) {
  EXPECT_EQ(start_of("#!/usr/bin/env bun\n"),
            "no: it is written for 'bun', which is not in a node image");
  EXPECT_EQ(start_of("#!/usr/bin/env -S node --a='b c'\n"),
            "no: its first line has quotes, which are not understood here");
  EXPECT_EQ(start_of("#!/usr/bin/env -u A node\n"), "env -u A node /app/cli.js");
  EXPECT_EQ(start_of("#!/usr/bin/env -C / node\n"),
            "no: its first line: env -C: this option of env is not understood here");
  for (const char* line : {"#!", "#!\n", "#!/usr/bin/env\n", "#!/usr/bin/env A=1\n", "#!   \n"}) {
    EXPECT_EQ(start_of(line), "no: its first line names no program") << line;
  }
}

TEST(CommandOfBinTest, WhatIsNoFileIsRefused) {
  const Scratch package;
  const auto folder = Folder::open(package.path());
  ASSERT_TRUE(folder);
  ASSERT_EQ(::mkfifo((package.path() / "fifo.js").c_str(), 0600), 0);
  ASSERT_TRUE(make_symlink("/etc/passwd", package.path() / "link.js"));
  package.add("dir/file");
  for (const char* name : {"missing.js", "dir", "fifo.js", "link.js"}) {
    const auto argv = command_of_bin(*folder, name, "/app/x");
    ASSERT_FALSE(argv) << name;
    EXPECT_EQ(argv.error().message, "it has no file in the package") << name;
  }
}

}  // namespace
}  // namespace thimble::image
