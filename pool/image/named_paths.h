// Which paths of the host a command names, and what of them goes into the guest: a file by itself,
// a directory as a whole, a program with the folders that it finds its modules in; never the home
// directory, the root or a system directory as a whole. docs/images.md has the rules in words.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/command/account.h"
#include "pool/image/command/argument.h"
#include "pool/image/command/links.h"
#include "pool/image/command/places.h"
#include "pool/image/plan.h"

namespace thimble::image {

class NamedPaths {
 public:
  // `user` of the guest gets all that goes in: "uid", "uid:gid" or a name; empty: root.
  NamedPaths(Places places, const std::string& user)
      : places_(std::move(places)), owner_(find_account(user)) {}

  // The path in word number `word` of the command, `text`, when there is one that may go in. Fails
  // where a link leads to what nobody named.
  Result<void> take(std::size_t word, const std::string& text);
  // The same for a file, or node's directory, that is run: its package comes along.
  Result<void> take_program(std::size_t word, const std::string& text, bool node);
  // A directory that a program needs. True path; must not be forbidden.
  void take_folder(const std::filesystem::path& directory);
  // In the guest, `directory` holds this link to a file of the image, and nothing else.
  void take_link(const std::filesystem::path& directory, const std::string& name,
                 const std::string& target);
  bool has(std::size_t word) const { return named_.contains(word); }
  void note(std::string text) { notes_.push_back(std::move(text)); }

  // The following are asked after the last take.
  Result<std::vector<HostPath>> mounts() const;
  // The host's current directory when the guest has it too, else empty.
  std::string workdir() const;
  // The word as the guest must see it: `text`, unless the path in it is relative to a directory
  // that the guest does not start in, or could not keep its place.
  std::string rewrite(std::size_t word, const std::string& text) const;
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Mount {
    std::filesystem::path host;                // true path
    std::filesystem::path guest;               // the name that the user wrote, or the same
    std::vector<std::string> only;             // single files of it; empty: all
    std::map<std::string, std::string> links;  // nothing but these
    bool implied = false;                      // not a directory that the user wrote

    bool is_whole() const { return only.empty() && links.empty(); }
  };
  struct Named {
    Argument argument;
    std::filesystem::path real;
  };

  void take_file(const Named& named);
  void take_directory(const Named& named);
  void take_lone_program(const Named& named);
  void note_missing(const std::string& text);
  void add(Mount mount);
  std::filesystem::path guest_of(const Mount& mount) const;
  // Where the path is in the guest; empty: nowhere.
  std::filesystem::path place_of(const Named& named) const;
  std::vector<std::string> places_inside(const Mount& mount) const;

  Places places_;
  Account owner_;
  std::vector<Mount> mounts_;
  std::map<std::size_t, Named> named_;
  std::vector<std::string> notes_;
};

}  // namespace thimble::image
