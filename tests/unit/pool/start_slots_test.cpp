// Turns of starts: so many at once, in order, whatever becomes of the others. Each start is a
// process.
#include "pool/start_slots.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

namespace thimble {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  Fd read;
  Fd write;
};

class StartSlotsTest : public testing::Test {
 protected:
  // A start in a process of its own. It says its letter when it has its turn, in capitals when it
  // waited or, in the background, was awaited; and '.' when it waits for long.
  class Start {
   public:
    Start(Start&& other) noexcept
        : pid_(std::exchange(other.pid_, -1)), go_on_(std::move(other.go_on_)) {}
    ~Start() { finish(); }
    // The turn goes with the process.
    void finish() {
      if (go_on_) (void)!::write(go_on_.get(), "x", 1);
      go_on_.reset();
      if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
      pid_ = -1;
    }
    void kill() const { ::kill(pid_, SIGKILL); }

   private:
    friend class StartSlotsTest;
    Start(pid_t pid, Fd go_on) : pid_(pid), go_on_(std::move(go_on)) {}
    pid_t pid_;
    Fd go_on_;
  };

  StartSlotsTest() {
    std::string path = (fs::temp_directory_path() / "thimble-starts-XXXXXX").string();
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    ::signal(SIGPIPE, SIG_IGN);  // of those that are killed
    folder_ = path;
  }
  ~StartSlotsTest() override { fs::remove_all(folder_); }

  [[nodiscard]] StartSlots slots(unsigned count) const {
    return {OwnedFolder::make(folder_ / "starts").value(), count, timeouts_};
  }

  void say(char letter) const { (void)!::write(said_.write.get(), &letter, 1); }

  // What the next one says.
  [[nodiscard]] char heard() const {
    char letter = 0;
    EXPECT_EQ(::read(said_.read.get(), &letter, 1), 1);
    return letter;
  }

  template <class Take>
  Start in_a_process(const Take& take) {
    Pipe go_on;
    const pid_t pid = ::fork();
    if (pid == 0) {
      go_on.write.reset();
      const Result<StartSlot> slot = take();
      char byte = 0;
      (void)!::read(go_on.read.get(), &byte, 1);
      ::_exit(0);
    }
    return {pid, std::move(go_on.write)};
  }

  Start start(unsigned count, char letter, const std::vector<std::string>& wanted = {},
              bool tells = false) {
    return in_a_process([&] {
      own_.reset();
      auto slot = slots(count).take(wanted, [&] {
        if (tells) say('.');
      });
      say(!slot ? '!' : slot->waited() ? static_cast<char>(std::toupper(letter)) : letter);
      return slot;
    });
  }

  Start start_in_background(unsigned count, char letter, const std::string& made) {
    Start started = in_a_process([&] {
      bool awaited = false;
      auto slot = slots(count).take_in_background(made, awaited, std::move(own_));
      say(!slot ? '!' : awaited ? static_cast<char>(std::toupper(letter)) : letter);
      return slot;
    });
    own_.reset();
    return started;
  }

  // A slot of this process's own, which it passes on to the next that starts in the background.
  void take_slot(unsigned count) {
    auto slot = slots(count).take({}, nullptr);
    ASSERT_TRUE(slot);
    own_ = slot->pass_on();
  }

  // Until one start is next and `queued` others wait behind it.
  void await_queue(size_t queued) const {
    for (int i = 0; i < 2000; ++i) {
      if (is_held("turn") && blocked("turn") == queued) return;
      std::this_thread::sleep_for(milliseconds(10));
    }
    ADD_FAILURE() << "the starts never wait";
  }

  [[nodiscard]] bool is_held(const char* name) const {
    const Fd file(::open(path(name).c_str(), O_RDONLY | O_CLOEXEC));
    return file && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;
  }

  [[nodiscard]] size_t blocked(const char* name) const {
    struct stat info{};
    EXPECT_EQ(::stat(path(name).c_str(), &info), 0);
    const std::string inode = ":" + std::to_string(info.st_ino) + " ";
    std::ifstream locks("/proc/locks");
    size_t count = 0;
    for (std::string line; std::getline(locks, line);) {
      if (line.find("->") != std::string::npos && line.find(inode) != std::string::npos) ++count;
    }
    return count;
  }

  [[nodiscard]] std::string path(const char* name) const {
    return (folder_ / "starts" / name).string();
  }

  // As a start does that is next and has no slot yet.
  [[nodiscard]] Fd hold(const char* name, int how) const {
    Fd file(::open(path(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::flock(file.get(), how), 0);
    return file;
  }

  // Until all that have waited for a turn wait for a template instead.
  void await_no_queue() const {
    for (int i = 0; i < 2000; ++i) {
      if (blocked("turn") == 0 && !is_held("turn")) return;
      std::this_thread::sleep_for(milliseconds(10));
    }
    ADD_FAILURE() << "a start has not left the queue";
  }

  fs::path folder_;
  StartSlots::Timeouts timeouts_{.says_so = milliseconds(30)};
  Pipe said_;
  Fd own_;
};

TEST_F(StartSlotsTest, AsManyAsThereAreSlotsGoAtOnce) {
  Start a = start(2, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(2, 'b');
  EXPECT_EQ(heard(), 'b');
  Start c = start(2, 'c');
  await_queue(0);
  b.finish();
  EXPECT_EQ(heard(), 'C') << "it has waited";
  a.finish();
  c.finish();
  Start d = start(2, 'd');
  EXPECT_EQ(heard(), 'd');
}

TEST_F(StartSlotsTest, OthersComeInTheirOrder) {
  Start a = start(1, 'a');
  EXPECT_EQ(heard(), 'a');
  std::vector<Start> others;
  for (size_t i = 0; i < 4; ++i) {
    others.push_back(start(1, static_cast<char>('b' + i)));
    await_queue(i);
  }
  a.finish();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(heard(), static_cast<char>('B' + i));
    others[i].finish();
  }
}

TEST_F(StartSlotsTest, ThoseThatAreKilledGiveTheirTurnBack) {
  Start a = start(1, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(1, 'b');
  await_queue(0);
  Start c = start(1, 'c');
  await_queue(1);
  Start d = start(1, 'd');
  await_queue(2);
  b.kill();  // it is next
  await_queue(1);
  c.kill();
  await_queue(0);
  a.kill();  // it has the slot
  EXPECT_EQ(heard(), 'D');
}

TEST_F(StartSlotsTest, ATurnIsGivenBackWhenItsHolderGoesOn) {
  const StartSlots one = slots(1);
  auto slot = one.take({}, nullptr);
  ASSERT_TRUE(slot);
  const pid_t child = ::fork();  // has the open file too, as a VMM process for a moment
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  slot->release();
  Start a = start(1, 'a');
  EXPECT_EQ(heard(), 'a');
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(StartSlotsTest, WhoWaitsForLongSaysSoOnce) {
  Start a = start(1, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(1, 'b', {}, true);
  await_queue(0);
  EXPECT_EQ(heard(), '.') << "the one that is next";
  Start c = start(1, 'c', {}, true);
  EXPECT_EQ(heard(), '.') << "one that is not";
  a.finish();
  EXPECT_EQ(heard(), 'B');
  b.finish();
  EXPECT_EQ(heard(), 'C');
}

TEST_F(StartSlotsTest, TemplatesYieldToStarts) {
  Start a = start(1, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(1, 'b', {"another"});
  await_queue(0);
  Start m = start_in_background(1, 'm', "made");
  a.finish();
  EXPECT_EQ(heard(), 'B');
  b.finish();
  EXPECT_EQ(heard(), 'm');
}

TEST_F(StartSlotsTest, ATemplateThatStartsWaitForGoesBeforeThem) {
  (void)slots(2);
  const Fd turn = hold("turn", LOCK_EX);
  const Fd want = hold("want-made", LOCK_SH);
  Start m = start_in_background(2, 'm', "made");
  EXPECT_EQ(heard(), 'M');
  m.finish();
}

TEST_F(StartSlotsTest, AMakerThatIsAwaitedGoesOnInTheSlotOfTheStartThatBeganIt) {
  take_slot(1);
  std::vector<Start> others;
  others.push_back(start(1, 'b', {"other", "made"}));
  await_queue(0);
  others.push_back(start(1, 'c', {"made"}));
  await_queue(1);
  Start d = start(1, 'd');
  await_queue(2);
  Start m = start_in_background(1, 'm', "made");
  EXPECT_EQ(heard(), 'M');
  await_queue(0);  // those that want it have left, and are in nobody's way
  m.kill();
  EXPECT_EQ(heard(), 'D');
  d.finish();
  std::string both(1, heard());  // they have come back, one before the other
  others[both == "B" ? 0 : 1].finish();
  both += heard();
  EXPECT_TRUE(both == "BC" || both == "CB") << both;
}

TEST_F(StartSlotsTest, WhoWaitsForATemplateTakesNoSlot) {
  take_slot(2);
  Start a = start(2, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(2, 'b', {"made"});
  await_queue(0);
  Start m = start_in_background(2, 'm', "made");
  EXPECT_EQ(heard(), 'M');
  await_no_queue();
  a.finish();
  Start c = start(2, 'c');
  EXPECT_EQ(heard(), 'c');
  m.finish();
  EXPECT_EQ(heard(), 'B');
}

TEST_F(StartSlotsTest, ATemplateIsNotWaitedForForEver) {
  timeouts_.for_template = milliseconds(50);
  take_slot(2);
  Start a = start(2, 'a');
  EXPECT_EQ(heard(), 'a');
  Start b = start(2, 'b', {"made"});
  await_queue(0);
  Start m = start_in_background(2, 'm', "made");
  EXPECT_EQ(heard(), 'M');
  a.finish();
  EXPECT_EQ(heard(), 'B');
}

TEST_F(StartSlotsTest, AMakerThatNobodyWaitsForGivesTheSlotBack) {
  take_slot(1);
  Start a = start(1, 'a', {"another"});
  await_queue(0);
  Start m = start_in_background(1, 'm', "made");
  EXPECT_EQ(heard(), 'A');
  a.finish();
  EXPECT_EQ(heard(), 'm');
}

TEST_F(StartSlotsTest, SoDoesOneThatHasToWaitForAnotherTemplate) {
  Start m = start_in_background(2, 'm', "made");
  EXPECT_EQ(heard(), 'm');
  take_slot(2);
  Start a = start(2, 'a', {"other"});
  await_queue(0);
  Start n = start_in_background(2, 'n', "other");
  EXPECT_EQ(heard(), 'A');
  m.finish();
  EXPECT_EQ(heard(), 'n');
}

TEST_F(StartSlotsTest, OneTemplateAtATime) {
  Start m = start_in_background(2, 'm', "made");
  EXPECT_EQ(heard(), 'm');
  Start n = start_in_background(2, 'n', "other");
  Start a = start(2, 'a');
  EXPECT_EQ(heard(), 'a') << "the other slot is for starts";
  a.finish();
  m.finish();
  EXPECT_EQ(heard(), 'n');
}

TEST(BootsAtOnce, IsSetOrByTheProcessors) {
  ::unsetenv("THIMBLE_BOOTS");
  EXPECT_GE(boots_at_once().value(), 2U);
  ::setenv("THIMBLE_BOOTS", "7", 1);
  EXPECT_EQ(boots_at_once().value(), 7U);
  ::setenv("THIMBLE_BOOTS", "off", 1);
  EXPECT_EQ(boots_at_once().value(), 0U);
  for (const char* wrong : {"0", "-1", "many", "7x", "99999", "4294967297"}) {
    ::setenv("THIMBLE_BOOTS", wrong, 1);
    EXPECT_FALSE(boots_at_once()) << wrong;
  }
  ::unsetenv("THIMBLE_BOOTS");
}

}  // namespace
}  // namespace thimble
