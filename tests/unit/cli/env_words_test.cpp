// Values of --env in a process's words.
#include "tools/cli/env_words.h"

#include <gtest/gtest.h>

namespace thimble::cli {
namespace {

Arguments hidden(Arguments words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size());
  for (std::string& word : words) pointers.push_back(word.data());
  hide_env_values(pointers);
  return words;
}

TEST(EnvWords, ValuesAreOverwrittenInEveryWayOfWritingThem) {
  EXPECT_EQ(
      hidden({"run", "--env", "K=secret", "-e", "L=a=b", "--env=M=x", "-eN=yy", "--env", "O"}),
      (Arguments{"run", "--env", "K=******", "-e", "L=***", "--env=M=*", "-eN=**", "--env", "O"}));
  EXPECT_EQ(hidden({"--env", "K="}), (Arguments{"--env", "K="}));
  EXPECT_EQ(hidden({"--env"}), (Arguments{"--env"}));
}

TEST(EnvWords, TheCommandsOwnWordsStay) {
  const Arguments words{"run", "--memory", "A=1", "--", "docker", "-e", "K=V", "--env=K=V"};
  EXPECT_EQ(hidden(words), words);
  EXPECT_EQ(without_env_values(words), words);
}

TEST(EnvWords, NamesAreKeptForWhoeverLooks) {
  EXPECT_EQ(without_env_values({"--env", "K=secret", "--env=L=x", "-eM=y", "-e", "N", "--", "cat"}),
            (Arguments{"--env", "K", "--env=L", "-eM", "-e", "N", "--", "cat"}));
}

}  // namespace
}  // namespace thimble::cli
