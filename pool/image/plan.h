// From the command line that a user would type on the host to what a guest needs: which image,
// which argv in the guest, which paths of the host go in (read-only copies), which directory to
// start in. The rules are written down in docs/images.md.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/ensure.h"
#include "pool/image/image.h"
#include "pool/image/request.h"
#include "pool/image/store.h"

namespace thimble::image {

struct PlanContext {
  std::filesystem::path cwd;               // absolute
  std::filesystem::path home;              // absolute; empty when unknown
  std::string image;                       // the user's --image; empty: choose by the command
  std::filesystem::path virtual_env = {};  // $VIRTUAL_ENV: what a bare `python` means; or empty
  std::string user = {};  // the user's --user, to whom copies of host paths belong in the guest

  static Result<PlanContext> from_process(std::string image = {});
};

// A path of the host that goes in. `request` packs it (Request::Kind::kHostPath).
struct HostPath {
  Request request;
  std::filesystem::path guest;  // absolute: where its content is mounted
};

struct Plan {
  Request image;
  // The guest's command. Empty first word: the image's own command comes in its place.
  std::vector<std::string> guest_argv;
  std::vector<std::string> before;  // words that go before it in any case: env(1) and its settings
  std::string image_command;  // for an empty first word: which of Image::commands; empty: default
  std::vector<HostPath> mounts;
  std::string workdir;             // empty: the image's
  bool resolve_now = false;        // what the package's version range means today
  std::vector<std::string> notes;  // for the caller to show: what was left out and why
  // Not empty: the image is known to lack the command. A line for the user that says what to do.
  std::string not_found;
};

// Looks at the host's file system, changes nothing.
Result<Plan> plan_command(const std::vector<std::string>& argv, const PlanContext& context);

// All that starting a guest needs.
struct PreparedMount {
  std::filesystem::path erofs;
  std::string guest;  // mount it read-only here
};
struct Prepared {
  std::string not_found;  // of the plan: then there is nothing else
  Image image;
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  std::string workdir;
  std::vector<PreparedMount> mounts;
};

// Builds what is missing (see ensure_image: may take minutes). Whether it refreshes is the plan's
// to say.
Result<Prepared> prepare_plan(const Store& store, const Plan& plan, const EnsureOptions& options);

}  // namespace thimble::image
